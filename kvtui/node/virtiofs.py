"""Directories that are shared with a guest: one virtiofsd per file system, there before the domain and gone with it.

The agent binds the socket and hands it over, so QEMU finds it whenever it comes. A server ends with its only client;
it runs in a session of its own, so it outlives the agent, and its number is on disk before it runs, so none is lost.
Claims are shared as they are. What comes from ConfigMaps, Secrets and the like is written into a directory of the VM,
which the guest may not change and which follows its object while the guest runs.

Source: virtiofsd(1) of QEMU, https://gitlab.com/virtio-fs/virtiofsd, https://libvirt.org/kbase/virtiofs.html
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance, Volume
from kvtui.client.rest import Client
from kvtui.errors import InvalidObject, NotFound
from kvtui.node.identity import QemuUser
from kvtui.node.layout import VmDirectory
from kvtui.node.pids import Pid
from kvtui.node.processes import ProgramMissing
from kvtui.node.volumes import claims, configfiles
from kvtui.node.volumes.room import Prepared

log = structlog.get_logger()
SERVERS = (Path("/usr/libexec/virtiofsd"), Path("/usr/lib/virtiofsd"), Path("/usr/lib/qemu/virtiofsd"))
QEMUS_OWN = "qemu"
"""Directory of the server that came with QEMU before 8 and has other options than its successor."""
NOBODY = 65534
_READ_ONLY = (
    *("unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c"),
    'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"',
)
"""Before a directory and a command that is to see it read-only."""
_RUN = (
    'number=$1; shift; "$@" & read -r stat < /proc/$!/stat; set -- "$number" ${stat##*)}; echo "$! ${21}" > "$number"'
)
"""The shell ends at once, so that the server is nobody's child, whatever becomes of the agent."""


@dataclass(frozen=True, slots=True)
class Share:
    """A directory that a guest sees."""

    name: str
    directory: Path
    read_only: bool


def server() -> Path:
    """The server of this node. Raises ProgramMissing."""
    found = next((path for path in SERVERS if os.access(path, os.X_OK)), None) or shutil.which("virtiofsd")
    if found is None:
        raise ProgramMissing("virtiofsd is not installed, which shares file systems with guests")
    return Path(found)


def command(program: Path, share: Share, descriptor: int) -> list[str]:
    """Arguments of a server that listens on an inherited socket."""
    if program.parent.name != QEMUS_OWN:
        options = ["--shared-dir", str(share.directory), "--cache", "auto", "--sandbox", "namespace"]
        return [str(program), "--fd", str(descriptor), *options, *(["--readonly"] if share.read_only else [])]
    # This one has no such option.
    view = [*_READ_ONLY, str(share.directory)] if share.read_only else []
    options = ["-o", f"source={_escaped(share.directory)}", "-o", "cache=auto", "-o", "sandbox=namespace"]
    return [*view, str(program), f"--fd={descriptor}", *options]


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(",", "\\,")


def shared_volumes(vmi: VirtualMachineInstance) -> list[Volume]:
    """Volumes that a file system of the guest shows."""
    wanted = [f.name for f in vmi.spec.domain.devices.filesystems if f.virtiofs is not None]
    volumes = {v.name: v for v in vmi.spec.volumes}
    return [volumes[name] for name in wanted if name in volumes]


class FileSystems:
    """The servers of all VMs on a node."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, vmi: VirtualMachineInstance, prepared: Prepared, user: QemuUser) -> None:
        """Makes directories and servers anew for a domain that is about to start. Raises NotFound, ProgramMissing."""
        directory = prepared.paths.directory
        await asyncio.to_thread(stop_all, directory)
        volumes = shared_volumes(vmi)
        if not volumes:
            return
        program = await asyncio.to_thread(server)
        for volume in volumes:
            claim = prepared.claims.get(volume.name)
            if claim is None:
                share = Share(volume.name, directory.shares / volume.name, read_only=True)
                await self._write(vmi, volume, directory)
            else:
                source = volume.persistent_volume_claim
                share = Share(volume.name, claim.path, read_only=bool(source and source.read_only))
            await self._serve(program, share, Path(prepared.paths.virtiofs_socket(volume.name)), directory, user)

    async def refresh(self, vmi: VirtualMachineInstance, directory: VmDirectory) -> None:
        """Brings what comes from objects up to date; a guest keeps what it has of an object that is gone."""
        for volume in shared_volumes(vmi):
            if claims.claim_name(volume):
                continue
            try:
                await self._write(vmi, volume, directory)
            except NotFound as error:
                log.warning("a shared volume is not brought up to date", vmi=str(vmi.key), error=str(error))

    async def _write(self, vmi: VirtualMachineInstance, volume: Volume, directory: VmDirectory) -> None:
        found = await configfiles.read(self._client, vmi, volume)
        if found is None:
            raise InvalidObject(f"volume {volume.name} cannot be shared as a file system")
        await asyncio.to_thread(_keep_to_servers, directory.shares)
        await asyncio.to_thread(publish, directory.shares / volume.name, found.files)

    async def _serve(self, program: Path, share: Share, path: Path, directory: VmDirectory, user: QemuUser) -> None:
        number = directory.own / f"{path.name}.pid"
        with await asyncio.to_thread(listen, path, user) as listener:
            descriptor = listener.fileno()
            await launch(command(program, share, descriptor), number, pass_fds=(descriptor,))
        log.info("file system server started", share=share.name)

    async def gone(self, directory: VmDirectory) -> None:
        """The domain is down for good."""
        await asyncio.to_thread(stop_all, directory)


async def launch(arguments: Sequence[str], number: Path, *, pass_fds: Sequence[int]) -> None:
    """Starts a process that is nobody's child, with its `Pid` in a file."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _RUN, "sh", str(number), *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=pass_fds,
        start_new_session=True,
    )
    await process.wait()


def listen(path: Path, user: QemuUser) -> socket.socket:
    """A listening socket that only this QEMU may connect to. Blocks."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, user.uid, user.gid)
    listener.listen(1)
    return listener


def _keep_to_servers(shares: Path) -> None:
    """What anyone in a guest may read is for no other guest's QEMU, which passes by on its way to its own files."""
    shares.mkdir(mode=0o700, parents=True, exist_ok=True)
    shares.chmod(0o700)


def publish(directory: Path, files: dict[str, bytes]) -> None:
    """Makes the directory hold exactly these files, each of them whole at any moment. Blocks."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    wanted = set()
    for name, data in files.items():
        target = directory / name
        if not target.resolve().is_relative_to(directory.resolve()) or target == directory:
            raise InvalidObject(f"{name!r} cannot name a file")
        wanted |= {target, *target.parents}
        if target.is_file() and target.read_bytes() == data:
            continue
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = target.with_name(f"..{target.name}.new")
        temporary.write_bytes(data)
        temporary.replace(target)
    for path in sorted(directory.rglob("*"), reverse=True):
        if path not in wanted:
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)


def stop_all(directory: VmDirectory) -> None:
    """Ends every server of a VM. Blocks for an instant."""
    for number in directory.own.glob("fs-*.pid"):
        server = Pid.from_text(number.read_text(errors="replace"))
        if server is not None and server.alive:
            log.info("file system server stopped", pid=server.number)
            os.kill(server.number, signal.SIGTERM)
        number.unlink(missing_ok=True)

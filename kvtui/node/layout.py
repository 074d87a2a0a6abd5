"""Where everything of a node is, in two views: as the agent writes it and as QEMU sees it.

The agent keeps its state below a data directory that other users may not enter. QEMU usually runs as such a user, so
the few directories it needs are bind-mounted below a short run directory whose parents anyone may pass. The run
directory does not name the node: on every node of an engine a VM's files have the same paths, which is what live
migration wants, and a socket's path stays below the 107 bytes that the kernel allows.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvtui.domainxml.paths import component, last_component
from kvtui.errors import InvalidObject

SOCKET_PATH_MAX = 107


@dataclass(frozen=True, slots=True)
class Layout:
    """Directories of one node."""

    node: Path
    """The agent's own directory."""
    shared: Path
    """Volumes that every node sees."""
    run: Path
    """Where QEMU finds the directories below; equal to `node` where nothing is mounted."""

    @property
    def vms(self) -> Path:
        return self.node / "vms"

    @property
    def images(self) -> Path:
        return self.node / "images"

    @property
    def storage(self) -> Path:
        return self.node / "storage"

    @property
    def mounts(self) -> dict[Path, Path]:
        """Mount point -> directory."""
        if self.run == self.node:
            return {}
        return {
            self.run / "vm": self.vms,
            self.run / "images": self.images,
            self.run / "local": self.storage,
            self.run / "shared": self.shared,
        }

    def seen(self, path: Path) -> Path:
        """The path under which QEMU reaches a file of the agent."""
        for point, directory in self.mounts.items():
            if path.is_relative_to(directory):
                return point / path.relative_to(directory)
        return path

    def vm(self, uid: str) -> VmDirectory:
        return VmDirectory(self.vms / _uid(uid), self.seen(self.vms / _uid(uid)))

    def volume(self, path: str) -> Path:
        """The directory of a PersistentVolume, checked to lie below a root of ours. Raises InvalidObject."""
        plain = PurePosixPath(path)
        for root in (self.storage, self.shared):
            if plain.is_relative_to(root) and plain != PurePosixPath(root) and ".." not in plain.parts:
                return Path(plain)
        raise InvalidObject(f"the volume path {path!r} is not below this node's storage")


def run_directory(data: Path) -> Path:
    """The run directory of the engine that lives in `data`."""
    return Path("/run/kvtui") / hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:8]


def layout_of(data: Path, node: str, *, privileged: bool) -> Layout:
    directory = data.absolute() / "nodes" / component(node, "node")
    run = run_directory(data)
    if not privileged:
        own = os.environ.get("XDG_RUNTIME_DIR", "") or f"/tmp/kvtui-{os.geteuid()}"  # noqa: S108  # others are kept out
        run = Path(own) / "kvtui" / run.name
    return Layout(directory, data.absolute() / "shared", run)


@dataclass(frozen=True, slots=True)
class VmDirectory:
    """State directory of one VMI: `own` for the agent, `qemu` for the domain XML."""

    own: Path
    qemu: Path

    @property
    def record(self) -> Path:
        return self.own / "record.json"

    @property
    def console(self) -> Path:
        return self.own / "console"

    @property
    def sockets(self) -> Path:
        return self.own / "s"

    @property
    def disks(self) -> Path:
        return self.own / "disks"

    @property
    def shares(self) -> Path:
        """Directories of files that are shared with the guest."""
        return self.own / "shares"

    def own_of(self, seen: str) -> Path:
        """The agent's path for one that was given to QEMU."""
        return self.own / Path(seen).relative_to(self.qemu)


@dataclass(frozen=True, slots=True)
class DomainPaths:
    """The converter's paths for one VMI on this node; what volumes resolve to is known before the conversion."""

    directory: VmDirectory
    images: dict[str, str]
    """containerDisk volume -> its image in the cache, as QEMU sees it."""
    volumes: dict[str, str]
    """Claim and hostDisk volume -> its image file or device, as QEMU sees it."""
    kernel: dict[str, str]
    """Base name -> kernel or initrd of the kernel-boot image."""
    kept_variables: str = ""
    """File of firmware variables that outlive the VMI; empty where they go with it."""

    def container_disk(self, volume: str, index: int) -> str:
        return self.images[volume]

    def overlay(self, volume: str) -> str:
        return self._disk(volume, "qcow2")

    def filesystem_volume(self, volume: str) -> str:
        return self.volumes[volume]

    def block_volume(self, volume: str) -> str:
        return self.volumes[volume]

    def hotplugged_file(self, volume: str) -> str:
        return self.volumes.get(volume, "")  # one that still waits is converted, but left out

    def hotplugged_block(self, volume: str) -> str:
        return self.volumes.get(volume, "")

    def host_disk(self, volume: str, path: str) -> str:
        return self.volumes[volume]

    def empty_disk(self, volume: str) -> str:
        return self._disk(volume, "empty.qcow2")

    def cloud_init(self, volume: str, iso: str) -> str:
        return str(self.directory.qemu / "disks" / component(iso, "spec.volumes"))

    def config_disk(self, volume: str, kind: str) -> str:
        return self._disk(volume, f"{kind}.iso")

    def acpi_table(self, volume: str, table: str) -> str:
        return self._disk(volume, component(table, "spec.domain.firmware.acpi"))

    def downward_metrics_disk(self) -> str:
        return str(self.directory.qemu / "disks" / "vhostmd0")

    def downward_metrics_socket(self) -> str:
        return self._socket("downwardmetrics")

    def kernel_artifact(self, file: str) -> str:
        return self.kernel[last_component(file, "spec.domain.firmware.kernelBoot")]

    def nvram(self) -> str:
        return self.kept_variables or str(self.directory.qemu / "nvram" / "vars.fd")

    def virtiofs_socket(self, name: str) -> str:
        return self._socket(f"fs-{hashlib.sha256(name.encode()).hexdigest()[:12]}")

    def serial_socket(self) -> str:
        return self._socket("serial0")

    def serial_log(self) -> str:
        return str(self.directory.qemu / "console" / "serial0.log")

    def vnc_socket(self) -> str:
        return self._socket("vnc")

    def usb_redirect_socket(self, slot: int) -> str:
        return self._socket(f"usb{slot:d}")

    def reservation_socket(self) -> str:
        return self._socket("pr-helper")

    def ignition(self) -> str:
        return str(self.directory.qemu / "disks" / "data.ign")

    def firmware_log(self) -> str:
        return str(self.directory.qemu / "console" / "firmware.log")

    def passt_log(self) -> str:
        return str(self.directory.qemu / "console" / "passt.log")

    def _disk(self, volume: str, suffix: str) -> str:
        return str(self.directory.qemu / "disks" / f"{component(volume, 'spec.volumes')}.{suffix}")

    def _socket(self, name: str) -> str:
        path = str(self.directory.qemu / "s" / name)
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise InvalidObject(f"the socket path {path} is longer than {SOCKET_PATH_MAX} bytes")
        return path


def _uid(uid: str) -> str:
    return component(uid, "metadata.uid")

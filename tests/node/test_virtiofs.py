"""Shared file systems: what is in their directories, how their servers are called."""

from __future__ import annotations

import os
import select
import stat
import subprocess
from pathlib import Path

import pytest

from kvtui.api.core.config import ConfigMap
from kvtui.api.kubevirt.domain import Filesystem, FilesystemVirtiofs
from kvtui.api.kubevirt.vmi import ConfigMapVolumeSource, Volume
from kvtui.api.meta import ObjectMeta
from kvtui.errors import InvalidObject
from kvtui.node.identity import QemuUser
from kvtui.node.layout import VmDirectory
from kvtui.node.pids import Pid
from kvtui.node.virtiofs import FileSystems, Share, command, launch, listen, publish, stop_all
from tests.node.builders import vmi
from tests.node.conftest import Bench


def names(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_a_directory_holds_exactly_the_files_of_its_object(tmp_path: Path) -> None:
    shared = tmp_path / "cfg"
    publish(shared, {"a": b"1", "deep/b": b"2"})
    assert names(shared) == {"a": b"1", "deep/b": b"2"}
    assert stat.S_IMODE((shared / "a").stat().st_mode) == 0o444
    assert stat.S_IMODE(shared.stat().st_mode) == 0o555
    shared.chmod(0o755)
    (shared / "deep").chmod(0o755)
    publish(shared, {"a": b"3"})
    assert names(shared) == {"a": b"3"}
    assert not (shared / "deep").exists()


async def test_only_servers_come_to_what_every_user_of_a_guest_may_read(bench: Bench, tmp_path: Path) -> None:
    await bench.client.create(ConfigMap(metadata=ObjectMeta(name="shown", namespace="default"), data={"a": "1"}))
    volume = Volume(name="cfg", config_map=ConfigMapVolumeSource(name="shown"))
    shared = {"disks": [], "filesystems": [Filesystem(name="cfg", virtiofs=FilesystemVirtiofs())]}
    directory = VmDirectory(tmp_path, tmp_path)
    await FileSystems(bench.client).refresh(vmi(volumes=[volume], devices=shared), directory)
    assert names(directory.shares) == {"cfg/a": b"1"}
    assert stat.S_IMODE(directory.shares.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../evil", "..", "a/../../b"])
def test_no_file_is_written_beside_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidObject):
        publish(tmp_path / "cfg", {name: b""})


def test_a_link_in_the_directory_does_not_lead_out_of_it(tmp_path: Path) -> None:
    shared = tmp_path / "cfg"
    shared.mkdir()
    (shared / "out").symlink_to(tmp_path)
    with pytest.raises(InvalidObject):
        publish(shared, {"out/evil": b""})


def test_each_server_gets_the_options_it_knows() -> None:
    share = Share("s", Path("/data,1"), read_only=True)
    theirs = command(Path("/usr/libexec/virtiofsd"), share, 7)
    assert theirs[1:3] == ["--fd", "7"]
    assert "--readonly" in theirs
    qemus = command(Path("/usr/lib/qemu/virtiofsd"), share, 7)
    assert "--fd=7" in qemus
    assert "source=/data\\,1" in qemus
    assert qemus[0] == "unshare"
    writable = command(Path("/usr/lib/qemu/virtiofsd"), Share("s", Path("/d"), read_only=False), 7)
    assert writable[0] == "/usr/lib/qemu/virtiofsd"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("read_only", [True, False])
def test_a_server_whose_program_knows_no_read_only_sees_its_directory_so(tmp_path: Path, read_only: bool) -> None:
    program, shared = tmp_path / "qemu" / "virtiofsd", tmp_path / "a, b"
    program.parent.mkdir()
    shared.mkdir()
    program.write_text(f'#!/bin/sh\necho written > "{shared}/file"\n')
    program.chmod(0o755)
    done = subprocess.run(
        command(program, Share("s", shared, read_only=read_only), 7), capture_output=True, check=False
    )
    assert (b"Read-only file system" in done.stderr) == read_only
    assert (shared / "file").exists() != read_only


def test_a_socket_is_there_before_its_server_and_for_one_user_only(tmp_path: Path) -> None:
    path = tmp_path / "fs"
    with listen(path, QemuUser(os.geteuid(), os.getegid())), listen(path, QemuUser(os.geteuid(), os.getegid())):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_only_servers_are_ended_and_not_who_has_their_number_now(tmp_path: Path) -> None:
    number = tmp_path / "fs-1.pid"
    number.write_text(str(Pid(os.getpid(), 1)))
    (tmp_path / "fs-2.pid").write_text("no number")
    stop_all(VmDirectory(tmp_path, tmp_path))
    assert list(tmp_path.glob("fs-*.pid")) == []


async def test_a_server_outlives_whoever_started_it_and_is_ended_with_its_guest(tmp_path: Path) -> None:
    program = tmp_path / "virtiofsd"
    program.symlink_to("/bin/sleep")
    directory = VmDirectory(tmp_path, tmp_path)
    number = tmp_path / "fs-1.pid"
    await launch([str(program), "60"], number, pass_fds=())
    server = Pid.from_text(number.read_text())
    assert server is not None
    assert server.alive
    pid = server.number
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] != str(os.getpid())
    ended = os.pidfd_open(pid)
    stop_all(directory)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)

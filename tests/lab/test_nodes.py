"""Nodes on this machine: they come, live side by side, survive, and leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kvtui.lab.daemons import libvirtd_command
from kvtui.lab.nodes import raise_nodes, read_lab, remove_nodes
from kvtui.lab.plan import RUN, LabPlan, NodePlan
from kvtui.lab.processes import processes_in

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(shutil.which("libvirtd") is None, reason="libvirtd is not installed"),
]

CACHE = Path("/var/cache/kvtui")
MakeLab = Callable[[str, int], LabPlan]


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    with ExitStack() as stack:

        def make(name: str, count: int) -> LabPlan:
            stack.callback(remove_nodes, tmp_path / name)
            return raise_nodes(tmp_path / name, count, CACHE, say=lambda line: None)

        yield make


def inside(node: NodePlan, *command: str) -> str:
    return subprocess.run(node.enter(*command), capture_output=True, text=True, check=True).stdout.strip()


def traces(lab: LabPlan) -> list[str]:
    """Whatever of the lab can be seen on the host."""
    links = [p.name for p in Path("/sys/class/net").iterdir() if lab.tag in p.name]
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if lab.tag in line]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    found = [*links, *mounts, *(t for t in tables.splitlines() if lab.tag in t)]
    found += [r for r in routes.splitlines() if lab.bridge in r]
    return found + ([str(lab.run)] if lab.run.exists() else [])


def test_nodes_reach_each_other_and_the_host_and_differ_in_name(make_lab: MakeLab) -> None:
    lab = make_lab("one", 2)
    first, second = lab.nodes
    assert [inside(n, "/bin/hostname") for n in lab.nodes] == ["node-1", "node-2"]
    with subprocess.Popen(
        second.enter("/bin/busybox", "nc", "-l", "-p", "7777"), stdout=subprocess.PIPE, text=True
    ) as server:
        wait_for_port(second, 7777)
        talk = f"echo hello | busybox nc {second.address} 7777"
        subprocess.run(first.enter("/bin/sh", "-c", talk), check=True, timeout=10)
        assert server.communicate(timeout=10)[0] == "hello\n"
    assert str(lab.host_address) in inside(first, "/sbin/ip", "route", "show", "default")


def wait_for_port(node: NodePlan, port: int) -> None:
    script = f"until busybox netstat -ltn | grep -q ':{port} '; do busybox usleep 20000; done"
    subprocess.run(node.enter("/bin/sh", "-c", script), check=True, timeout=10)


def test_two_labs_live_side_by_side(make_lab: MakeLab) -> None:
    one, two = make_lab("one", 1), make_lab("two", 1)
    assert not one.network.overlaps(two.network)
    assert inside(one.nodes[0], "/bin/hostname") == inside(two.nodes[0], "/bin/hostname") == "node-1"
    remove_nodes(one.data)
    assert not traces(one)
    assert inside(two.nodes[0], "/bin/hostname") == "node-1"


def test_raising_again_changes_nothing(make_lab: MakeLab) -> None:
    lab = make_lab("one", 1)
    before = os.stat(lab.nodes[0].namespace("net")).st_ino
    assert make_lab("one", 1) == lab
    assert os.stat(lab.nodes[0].namespace("net")).st_ino == before


def test_another_number_of_nodes_replaces_the_lab(make_lab: MakeLab) -> None:
    make_lab("one", 2)
    lab = make_lab("one", 1)
    assert not (RUN / lab.tag / "node-2").exists()
    assert read_lab(lab.data) == lab


def test_each_libvirtd_is_its_own_and_nothing_remains_after_it_was_killed(make_lab: MakeLab) -> None:
    lab = make_lab("one", 2)
    with ExitStack() as stack:
        for node in lab.nodes:
            log = stack.enter_context((lab.data / f"{node.name}.log").open("wb"))
            daemon = stack.enter_context(subprocess.Popen(libvirtd_command(node), stdout=log, stderr=log))
            stack.callback(daemon.kill)
        for node in lab.nodes:
            script = "until [ -S /run/libvirt/libvirt-sock ]; do busybox usleep 20000; done; virsh capabilities"
            assert (
                str(node.host_uuid)
                in subprocess.run(
                    node.enter("/bin/sh", "-c", script), capture_output=True, text=True, check=True, timeout=60
                ).stdout
            )
        for node in lab.nodes:
            for pid in processes_in(node.namespace("mnt")):
                os.kill(pid, signal.SIGKILL)
    remove_nodes(lab.data)
    assert not traces(lab)


def test_a_lab_is_removed_although_its_record_is_lost(make_lab: MakeLab) -> None:
    lab = make_lab("one", 1)
    (lab.data / "lab.json").unlink()
    remove_nodes(lab.data)
    assert not traces(lab)


def test_a_half_made_lab_is_removed(make_lab: MakeLab) -> None:
    lab = make_lab("one", 2)
    subprocess.run(["ip", "link", "delete", lab.nodes[1].link], check=True)
    (lab.nodes[1].run / "ready").unlink()
    remove_nodes(lab.data)
    assert not traces(lab)

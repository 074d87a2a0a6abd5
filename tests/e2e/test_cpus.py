"""CPUs of one's own, limits and huge pages, seen where the kernel keeps them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire, to_wire
from kvtui.client.rest import Client
from kvtui.lab.nodes import read_lab
from kvtui.lab.processes import processes_in
from kvtui.node import cpusets
from tests.e2e.conftest import BOOT, Lab, until
from tests.e2e.guests import a_guest, launcher, machine, remove, wait_running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="the only CPU is the host's"),
]
PAGES = Path("/proc/sys/vm/nr_hugepages")
MIB = 2**20


def held(name: str, *, node: str = "", **domain: Any) -> VirtualMachine:
    """A VM that starts paused, so that it costs nothing."""
    vm = to_wire(machine(name, ("scratch", {"emptyDisk": {"capacity": "8Mi"}}), memory="64Mi", grace=0))
    spec = vm["spec"]["template"]["spec"]
    spec["startStrategy"] = "Paused"
    spec["domain"] |= domain
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return from_wire(vm, VirtualMachine)


def qemu(lab: Lab, node: str, name: str) -> int:
    """Process of a guest."""
    state = read_lab(lab.data)
    assert state is not None
    place = next(n for n in state.nodes if n.name == node)
    for pid in processes_in(place.namespace("net")):
        with contextlib.suppress(OSError):
            if f"guest=default_{name},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise AssertionError(f"no QEMU of {name} on {node}")


def allowed(pid: int) -> set[frozenset[int]]:
    """CPUs on which the threads of a process may run."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            text = (task / "status").read_text()
            found.add(cpusets.parse(re.findall(r"Cpus_allowed_list:\s*(\S+)", text)[0]))
    return found


def group(pid: int, controller: str, file: str) -> str:
    """A file of the control group in which libvirt keeps a whole guest."""
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    legacy = next((path for _, names, path in rows if controller in names.split(",")), None)
    path = legacy if legacy is not None else next(path for number, _, path in rows if number == "0")
    root = Path("/sys/fs/cgroup") / (controller if legacy is not None else "")
    whole = next(p for p in (Path(path), *Path(path).parents) if p.name.endswith(".libvirt-qemu"))
    return (root / str(whole).lstrip("/") / file).read_text().strip()


async def eventually(what: Callable[[], object], wanted: object) -> None:
    """Nobody announces where threads may run."""
    async with asyncio.timeout(BOOT):
        while what() != wanted:
            await asyncio.sleep(0.1)


def given(lab: Lab, node: str, name: str) -> list[int] | None:
    """The CPUs in the record of a VM on a node; None without a record."""
    for path in (lab.data / "nodes" / node / "vms").glob("*/record.json"):
        with contextlib.suppress(OSError, ValueError):
            record = json.loads(path.read_text())
            if record["name"] == name:
                return list(record.get("cpus", []))
    return None


async def test_dedicated_cpus_are_kept_through_kills_and_moves_and_given_back(lab: Lab, client: Client) -> None:
    node = await client.get(Node, ("", "node-1"))
    everywhere = frozenset(range(int(node.status.capacity["cpu"])))
    count = int(node.status.allocatable["kvtui.io/exclusive-cpu"])
    assert node.metadata.labels["kubevirt.io/cpumanager"] == node.metadata.labels["cpumanager"] == "true"
    assert 0 < count < len(everywhere)
    dedicated: dict[str, Any] = {"cpu": {"cores": count, "dedicatedCpuPlacement": True}}
    async with a_guest(client, held("sharing", node="node-1")):
        shared = qemu(lab, "node-1", "sharing")
        assert allowed(shared) == {everywhere}
        await client.create(held("owner", **dedicated))
        # Whichever node is chosen, its agent is killed when it has given the CPUs away and started nothing yet.
        async with asyncio.timeout(BOOT):
            while not (chosen := next((n for n in ("node-1", "node-2") if given(lab, n, "owner")), "")):
                await asyncio.sleep(0.002)
        os.kill(lab.pid(f"agent-{chosen}"), signal.SIGKILL)
        own = given(lab, chosen, "owner")
        assert own is not None
        async with a_guest_that_is_there(client, "owner") as instance:
            assert instance.status.node_name == chosen
            assert given(lab, chosen, "owner") == own
            assert allowed(qemu(lab, chosen, "owner")) == {frozenset([cpu]) for cpu in own} | {frozenset(own)}
            os.kill(lab.pid(f"agent-{chosen}"), signal.SIGKILL)
            await move(client, instance, "owner")
            other = "node-2" if chosen == "node-1" else "node-1"
            moved = await client.get(VirtualMachineInstance, instance.key)
            assert moved.status.node_name == other
            assert moved.status.migration_state is not None
            assert moved.status.migration_state.target_cpu_set == given(lab, other, "owner")
            assert json.loads(moved.status.migration_state.target_node_topology or "{}")["numa_cells"]
            cpus = frozenset(moved.status.migration_state.target_cpu_set)
            assert frozenset().union(*allowed(qemu(lab, other, "owner"))) == cpus
            if other == "node-1":
                await eventually(lambda: allowed(shared), {everywhere - cpus})
        await eventually(lambda: allowed(shared), {everywhere})


@contextlib.asynccontextmanager
async def a_guest_that_is_there(client: Client, name: str) -> AsyncIterator[VirtualMachineInstance]:
    """A VM that has been made, until the end of the block."""
    try:
        yield await wait_running(client, name)
    finally:
        await remove(client, name)


async def move(client: Client, instance: VirtualMachineInstance, name: str) -> None:
    wanted = {"metadata": {"name": f"move-{name}", "namespace": "default"}, "spec": {"vmiName": name}}
    made = await client.create(from_wire(wanted, VirtualMachineInstanceMigration))
    ended = await until(
        client,
        VirtualMachineInstanceMigration,
        made.key,
        lambda m: m is not None and m.status.phase in ("Succeeded", "Failed"),
    )
    assert ended is not None
    assert ended.status.phase == "Succeeded", ended.status.migration_state


async def test_more_cpus_than_nodes_give_away_are_waited_for(client: Client) -> None:
    vm = held("greedy", cpu={"cores": os.cpu_count(), "dedicatedCpuPlacement": True})
    async with a_waiting_guest(client, vm) as message:
        assert "2 Insufficient cpu" in message


async def test_limits_are_those_of_the_control_group(lab: Lab, client: Client) -> None:
    resources = {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    async with a_guest(client, held("limited", resources=resources)) as instance:
        node = instance.status.node_name or ""
        pid = qemu(lab, node, "limited")
        if not any("libvirt-qemu" in line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()):
            pytest.skip("this machine lets nobody make control groups")
        if Path("/sys/fs/cgroup/cgroup.controllers").exists():
            await eventually(lambda: group(pid, "cpu", "cpu.max"), "50000 100000")
            memory = int(group(pid, "memory", "memory.max"))
        else:
            await eventually(lambda: group(pid, "cpu", "cpu.cfs_quota_us"), "50000")
            assert group(pid, "cpu", "cpu.shares") == "256"
            memory = int(group(pid, "memory", "memory.limit_in_bytes"))
        limits = (await launcher(client, instance)).spec.containers[0].resources.limits
        assert memory >= 64 * MIB
        assert "memory" in limits


@pytest.fixture
def pages() -> Iterator[int]:
    """Huge pages of 2 MiB on this machine, for the length of a test."""
    before = PAGES.read_text()
    try:
        PAGES.write_text(str(int(before) + 40))
        found = int(PAGES.read_text())
        if found < int(before) + 32:
            pytest.skip("this machine has no memory for huge pages")
        yield found - int(before)
    finally:
        PAGES.write_text(before)


async def test_a_guest_has_its_memory_in_huge_pages(lab: Lab, client: Client, pages: int) -> None:
    vm = held("huge", memory={"guest": "64Mi", "hugepages": {"pageSize": "2Mi"}})
    async with a_guest(client, vm) as instance:
        pid = qemu(lab, instance.status.node_name or "", "huge")
        maps = Path(f"/proc/{pid}/smaps").read_text()
        assert re.search(r"KernelPageSize:\s+2048 kB", maps)
        node = await client.get(Node, ("", instance.status.node_name or ""))
        assert node.status.allocatable["hugepages-2Mi"] == node.status.capacity["hugepages-2Mi"] != "0"


async def test_a_guest_waits_for_huge_pages_that_no_node_has(client: Client) -> None:
    vm = held("waits", memory={"guest": "1Gi", "hugepages": {"pageSize": "1Gi"}})
    async with a_waiting_guest(client, vm) as message:
        assert "2 Insufficient hugepages-1Gi" in message


@contextlib.asynccontextmanager
async def a_waiting_guest(client: Client, vm: VirtualMachine) -> AsyncIterator[str]:
    """Why no node takes the VM."""
    try:
        await client.create(vm)
        yield refused(await until(client, VirtualMachineInstance, ("default", vm.metadata.name), refused))
    finally:
        await remove(client, vm.metadata.name)


def refused(instance: VirtualMachineInstance | None) -> str:
    conditions = instance.status.conditions if instance is not None else []
    return next((c.message or "" for c in conditions if c.type == "PodScheduled" and c.status == "False"), "")

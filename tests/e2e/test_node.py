"""A node tells the truth about its machine, confines each guest, and leaves what is not its own alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from kvtui.api import quantity
from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import evolve
from kvtui.client.rest import Client
from kvtui.lab.nodes import read_lab
from kvtui.lab.processes import end_processes, processes_in
from kvtui.node import observe, threadpins
from kvtui.node.hypervisor import (
    Affect,
    DeviceAdded,
    DeviceRemoved,
    DomainId,
    DomainState,
    Event,
    Hypervisor,
    HypervisorRefused,
    Reason,
    Share,
)
from kvtui.node.identity import COUNT, FIRST
from kvtui.node.layout import run_directory
from kvtui.node.libvirt_driver import LibvirtHypervisor
from kvtui.node.owner import URI
from kvtui.node.threadpins import EMULATOR, Thread
from tests.e2e.conftest import Lab, kvtui, until
from tests.e2e.guests import a_guest, domains, in_node, kubectl, machine, running, wait_running
from tests.fakes.hypervisor import FakeHypervisor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
KIB = 1024


def meminfo(field: str) -> int:
    """Bytes."""
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows[field].split()[0]) * KIB


def ready(node: Node | None, status: str) -> bool:
    return node is not None and any(c.type == "Ready" and c.status == status for c in node.status.conditions)


def held(name: str, *, selector: dict[str, str] | None = None, strategy: str = "Always") -> VirtualMachine:
    """A VM that starts paused, so that it costs nothing."""
    scratch = ("scratch", {"emptyDisk": {"capacity": "8Mi"}})
    vm = machine(name, scratch, memory="64Mi", grace=0, strategy=strategy)
    spec = evolve(vm.spec.template.spec, start_strategy="Paused", node_selector=selector or {})
    return evolve(vm, spec=evolve(vm.spec, template=evolve(vm.spec.template, spec=spec)))


async def test_the_node_is_what_the_machine_is(lab: Lab, client: Client) -> None:
    node = await until(client, Node, ("", "node-1"), lambda n: ready(n, "True"))
    assert node is not None
    capacity, info = node.status.capacity, node.status.node_info
    assert info is not None
    assert capacity["cpu"] == str(os.cpu_count())
    assert abs(quantity.value(capacity["memory"]) - meminfo("MemTotal")) < 2**20
    assert 0 < quantity.value(node.status.allocatable["memory"]) < quantity.value(capacity["memory"])
    assert (info.kernel_version, info.boot_id) == (
        os.uname().release,
        Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    )
    assert {c.type: c.status for c in node.status.conditions if c.type != "Ready"} == dict.fromkeys(
        ("MemoryPressure", "DiskPressure", "PIDPressure"), "False"
    )
    host = ET.fromstring(in_node(lab, "node-1", "virsh", "capabilities"))
    machines = {m.text for m in host.findall("guest/arch[@name='x86_64']/machine")}
    labels = node.metadata.labels
    prefix = "machine-type.node.kubevirt.io/"
    assert {m for m in machines if m} <= {k.removeprefix(prefix) for k in labels if k.startswith(prefix)}
    guest = ET.fromstring(in_node(lab, "node-1", "virsh", "domcapabilities", "--virttype", "qemu"))
    usable = {m.text for m in guest.findall("cpu/mode[@name='custom']/model") if m.get("usable") == "yes"}
    offered = {k.partition("/")[2] for k in labels if k.startswith("cpu-model.node.kubevirt.io/")}
    assert offered
    assert offered <= usable

    described = kubectl(lab, "describe", "node", "node-1")
    assert f"Kernel Version:             {os.uname().release}" in described
    assert re.search(r"Ready\s+True\s+.*KubeletReady", described)
    percent, used = kubectl(lab, "top", "node", "node-1", "--no-headers").split()[2:4]
    assert int(percent.rstrip("%")) <= 101
    real = meminfo("MemTotal") - meminfo("MemAvailable")
    assert abs(quantity.value(used) - real) < max(real * 0.3, 300 * 2**20)


async def test_a_cordoned_node_stays_cordoned(lab: Lab, client: Client) -> None:
    kubectl(lab, "cordon", "node-2")
    try:
        before = (await client.get(Node, ("", "node-2"))).metadata.resource_version
        os.kill(lab.pid("agent-node-2"), signal.SIGKILL)
        newer = lambda n: ready(n, "True") and n is not None and n.metadata.resource_version != before  # noqa: E731
        node = await until(client, Node, ("", "node-2"), newer)
        assert node is not None
        assert node.spec.unschedulable
        assert "SchedulingDisabled" in kubectl(lab, "get", "node", "node-2")
    finally:
        kubectl(lab, "uncordon", "node-2")


async def test_each_guest_is_a_user_of_its_own_without_rights(lab: Lab, client: Client) -> None:
    async with a_guest(client, held("one")) as one, a_guest(client, held("two")) as two:
        users = {}
        for instance in (one, two):
            node = instance.status.node_name or ""
            pid = int(in_node(lab, node, "cat", f"/run/libvirt/qemu/default_{instance.metadata.name}.pid"))
            fields = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            assert (fields["Seccomp"], fields["NoNewPrivs"], int(fields["CapEff"], 16)) == ("2", "1", 0)
            users[int(fields["Uid"].split()[0])] = instance
        assert len(users) == 2
        assert all(FIRST <= uid < FIRST + COUNT for uid in users)
        for instance in (one, two):
            disk = run_directory(lab.data) / "vm" / instance.metadata.uid / "disks/scratch.empty.qcow2"
            for user, owned in users.items():
                words = ["setpriv", f"--reuid={user}", "--clear-groups", "sh", "-c", f"[ -r {disk} ] && echo may"]
                may = in_node(lab, instance.status.node_name or "", *words, check=False).strip()
                assert bool(may) == (owned is instance)


async def test_a_foreign_domain_is_left_alone_but_its_memory_counts(lab: Lab, client: Client, tmp_path: Path) -> None:
    def offered(node: Node | None) -> int:
        # What is set aside for huge pages is memory too; it may have changed since.
        given = node.status.allocatable if node is not None else {}
        return sum(quantity.value(v) for k, v in given.items() if k == "memory" or k.startswith("hugepages-"))

    before = await client.get(Node, ("", "node-1"))
    xml = tmp_path / "foreign.xml"
    xml.write_text(plain("foreign", memory=256))
    in_node(lab, "node-1", "virsh", "create", "--paused", str(xml))
    try:
        less = lambda n: offered(n) == offered(before) - 256 * 2**20  # noqa: E731
        node = await until(client, Node, ("", "node-1"), less, timeout=30)
        assert node is not None
        assert node.status.capacity["memory"] == before.status.capacity["memory"]
        os.kill(lab.pid("agent-node-1"), signal.SIGKILL)
        newer = node.metadata.resource_version
        await until(client, Node, ("", "node-1"), lambda n: ready(n, "True") and n.metadata.resource_version != newer)  # type: ignore[union-attr]
        assert "foreign" in await domains(lab, "node-1", "--state-paused")
        assert "foreign" not in kvtui(lab, "get", "vmi", "-A", check=False)
    finally:
        in_node(lab, "node-1", "virsh", "destroy", "foreign", check=False)
    await until(client, Node, ("", "node-1"), lambda n: offered(n) == offered(before), timeout=30)


async def test_a_libvirt_that_hangs_is_unknown_and_never_failed(lab: Lab, client: Client) -> None:
    async with a_guest(client, held("hung")) as instance:
        node, pid = instance.status.node_name or "", lab.pid(f"libvirtd-{instance.status.node_name}")
        os.kill(pid, signal.SIGSTOP)
        try:
            told = await until(client, Node, ("", node), lambda n: ready(n, "False"), timeout=60)
            assert told is not None
            reasons = {c.reason for c in told.status.conditions if c.type == "Ready"}
            assert reasons == {"HypervisorUnreachable"}

            def unknown(vmi: VirtualMachineInstance | None) -> bool:
                return vmi is not None and any(
                    (c.type, c.status, c.reason) == ("Synchronized", "Unknown", "HypervisorUnreachable")
                    for c in vmi.status.conditions
                )

            found = await until(client, VirtualMachineInstance, instance.key, unknown, timeout=60)
            assert running(found)
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(client, Node, ("", node), lambda n: ready(n, "True"))
        settled = lambda v: running(v) and not any(c.type == "Synchronized" for c in v.status.conditions)  # noqa: E731
        after = await until(client, VirtualMachineInstance, instance.key, settled)
        assert after is not None
        assert after.metadata.uid == instance.metadata.uid


_WIPE = """
for point in /run/kvtui/*/*; do umount "$point" || true; done
for name in $(ip netns list | cut -d" " -f1); do ip netns delete "$name"; done
for link in $(ip -o link show type bridge | cut -d: -f2); do ip link delete "$link" || true; done
rm -rf /run/libvirt/* /run/kvtui/*
mount --bind "$1" /proc/sys/kernel/random/boot_id
"""


@contextlib.contextmanager
def rebooted(lab: Lab, name: str, boot_id: Path) -> Iterator[None]:
    """Everything of a node's memory is gone at once: processes, mounts, links, /run; and it says that it booted."""
    state, supervisor = read_lab(lab.data), int(lab.record()["supervisor"]["pid"])
    assert state is not None
    place = next(n for n in state.nodes if n.name == name).run
    os.kill(supervisor, signal.SIGSTOP)  # nothing starts again before all is gone
    try:
        end_processes(processes_in(place / "uts"), grace=0)
        in_node(lab, name, "sh", "-ec", _WIPE, "wipe", str(boot_id))
    finally:
        os.kill(supervisor, signal.SIGCONT)
    try:
        yield
    finally:
        in_node(lab, name, "umount", "/proc/sys/kernel/random/boot_id")


async def test_after_a_reboot_run_strategies_decide(lab: Lab, client: Client, tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    here = {"kubernetes.io/hostname": "node-2"}
    async with (
        a_guest(client, held("always", selector=here)) as always,
        a_guest(client, held("once", selector=here, strategy="Once")) as once,
    ):
        with rebooted(lab, "node-2", boot_id):
            again = await wait_running(client, "always", besides=always.metadata.uid)
            ended = lambda v: v is not None and v.status.phase == "Failed"  # noqa: E731
            after = await until(client, VirtualMachineInstance, once.key, ended)
            assert after is not None
            assert after.metadata.uid == once.metadata.uid
            node = await until(client, Node, ("", "node-2"), lambda n: ready(n, "True"))
            assert node is not None
            assert node.status.node_info is not None
            assert node.status.node_info.boot_id == boot_id.read_text().strip()
            async with asyncio.timeout(30):
                while len(list((lab.data / "nodes/node-2/vms").iterdir())) > 1:
                    await asyncio.sleep(0.1)  # files tell nobody that they go
            assert await domains(lab, "node-2", "--all") == ["default_always"]
            assert [p.name for p in (lab.data / "nodes/node-2/vms").iterdir()] == [again.metadata.uid]
            assert len(in_node(lab, "node-2", "ls", "/run/netns").split()) == 1


# The fake is held to a real daemon where libvirt's test driver cannot be.


def plain(name: str, *, memory: int = 64, metadata: str = "") -> str:
    return f"""
    <domain type='qemu'><name>{name}</name><uuid>{uuid.uuid4()}</uuid>{metadata}
      <memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='q35'>hvm</type></os>
      <devices><controller type='scsi' model='virtio-scsi'/></devices>
    </domain>"""


def ours(name: str) -> str:
    vmi = f"<k:vmi xmlns:k='{URI}' engine='contract' namespace='ns' name='{name}' uid='u-1'/>"
    return plain(name, metadata=f"<metadata>{vmi}</metadata>")


@pytest.fixture(params=["fake", "qemu"])
async def hypervisor(request: pytest.FixtureRequest, lab: Lab) -> AsyncIterator[Hypervisor]:
    socket = f"/proc/{lab.pid('libvirtd-node-2')}/root/run/libvirt/libvirt-sock"
    made: Hypervisor = (
        FakeHypervisor("contract")
        if request.param == "fake"
        else LibvirtHypervisor(f"qemu+unix:///system?socket={socket}", "contract")
    )
    keeping = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(30):
            await made.wait_connected()
        yield made
        for domain in await made.domains():
            if domain.status.state.active:
                await made.destroy(domain.id, graceful=False)
            await made.undefine(domain.id)
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def test_a_domain_starts_paused_by_its_user_and_goes_on(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(ours("paused"))
    await hypervisor.start(domain, paused=True)
    status = await hypervisor.status(domain)
    assert (status.state, status.reason) == (DomainState.PAUSED, Reason.USER)
    assert [d.id for d in await hypervisor.domains()] == [domain]
    await hypervisor.resume(domain)
    assert (await hypervisor.status(domain)).state is DomainState.RUNNING


async def test_disks_come_and_go_with_events(hypervisor: Hypervisor, lab: Lab) -> None:
    domain = await hypervisor.define(ours("plugged"))
    await hypervisor.start(domain, paused=True)
    events: asyncio.Queue[Event] = asyncio.Queue()
    hypervisor.subscribe(events.put_nowait)
    image = lab.data / "shared" / "contract.img"
    image.write_bytes(bytes(2**20))
    seen = run_directory(lab.data) / "shared" / image.name  # as QEMU's user reaches it
    disk = f"""
    <disk type='file' device='disk'><source file='{seen}'/><target dev='sdb' bus='scsi'/>
      <alias name='ua-extra'/></disk>"""
    try:
        for affect in (Affect.LIVE, Affect.BOTH):
            await hypervisor.attach(domain, disk, affect)
            assert "ua-extra" in await hypervisor.xml(domain)
            with pytest.raises(HypervisorRefused):
                await hypervisor.attach(domain, disk, Affect.LIVE)
            await hypervisor.detach(domain, disk, affect)
            await _heard(events, domain, (DeviceAdded, DeviceRemoved))
            assert "ua-extra" not in await hypervisor.xml(domain)
        with pytest.raises(HypervisorRefused):
            await hypervisor.detach(domain, disk, Affect.LIVE)
    finally:
        image.unlink()


async def _heard(events: asyncio.Queue[Event], domain: DomainId, kinds: tuple[type[Event], ...]) -> None:
    async with asyncio.timeout(10):
        for kind in kinds:
            while not isinstance(event := await events.get(), kind) or event.domain != domain:  # type: ignore[union-attr]
                continue


async def test_a_domain_is_kept_to_its_cpus_and_limits(hypervisor: Hypervisor) -> None:
    domain = await hypervisor.define(ours("limited"))
    await hypervisor.start(domain, paused=True)
    for kind in ("vcpu", "emulator"):
        await hypervisor.pin(domain, kind, 0, {0})
    pins = threadpins.read(observe.parse(await hypervisor.xml(domain)))
    assert pins.threads == {Thread("vcpu"): frozenset({0}), EMULATOR: frozenset({0})}
    try:
        await hypervisor.limit(domain, Share(cpu_shares=512, cpu_limit=500))
    except HypervisorRefused as error:  # a daemon without control groups says so
        assert "cgroup" in str(error)  # noqa: PT017

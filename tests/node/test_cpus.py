"""CPUs of one's own, from the launcher's admission to its end; all others keep off them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Container, ContainerResources, Pod
from kvtui.api.kubevirt.domain import CPU, Firmware
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import evolve
from kvtui.domainxml import HostCell
from kvtui.node import capabilities, hugepages, threadpins
from kvtui.node.hypervisor import DomainId
from kvtui.node.migration import placement
from kvtui.node.migration.placement import TargetCpus
from kvtui.node.migration.xml import TargetFacts, for_target
from kvtui.node.threadpins import EMULATOR, Pins, Thread
from tests.node.builders import NODE, UUID, launcher, vmi
from tests.node.conftest import Bench, is_ready, key, phase

DOMAIN = DomainId(UUID)
SECOND = "0a5b5cb6-3a5c-4d7f-9c39-0f6c4c7f2b12"


def dedicated(name: str = "vm1", *, cores: int = 1, uid: str = "", uuid: str = UUID) -> VirtualMachineInstance:
    domain = {"cpu": CPU(cores=cores, sockets=1, threads=1, dedicated_cpu_placement=True)}
    more: dict[str, Any] = {"uid": uid} if uid else {}
    return vmi(name, domain={**domain, "firmware": Firmware(uuid=uuid)}, **more)


async def admit(bench: Bench, instance: VirtualMachineInstance, cpus: int) -> Pod:
    """The instance with its launcher, which may use so many CPUs."""
    created = await bench.client.create(instance)
    pod = launcher(created, f"virt-launcher-{created.metadata.name}")
    limits = ContainerResources(limits={"cpu": str(cpus)}, requests={"cpu": str(cpus)})
    containers = [Container(name="compute", image="launcher", resources=limits)]
    return await bench.client.create(evolve(pod, spec=evolve(pod.spec, containers=containers)))


async def start(bench: Bench, instance: VirtualMachineInstance, cpus: int) -> ET.Element:
    """The live description of the instance's domain."""
    await admit(bench, instance, cpus)
    await bench.hand_over(instance)
    await bench.until(VirtualMachineInstance, key(instance.metadata.name), lambda v: phase(v) == "Running")
    uuid = instance.spec.domain.firmware.uuid if instance.spec.domain.firmware else ""
    live = bench.hypervisor.fakes[DomainId(uuid or "")].live
    assert live is not None
    return live


def pins(domain: ET.Element) -> list[str]:
    return [pin.get("cpuset", "") for pin in domain.findall("cputune/vcpupin")]


async def test_a_node_says_how_many_cpus_it_gives_away(bench: Bench) -> None:
    node = await bench.until(Node, ("", NODE), lambda n: n is not None and "cpu" in n.status.capacity)
    assert node is not None
    assert node.status.allocatable["kvtui.io/exclusive-cpu"] == "3"  # of four, the first is the host's
    assert node.metadata.labels["cpumanager"] == node.metadata.labels["kubevirt.io/cpumanager"] == "true"


async def test_a_guest_runs_on_its_own_cpus_and_others_move_away_and_back(bench: Bench) -> None:
    other = vmi("vm2", uid="7f0c1f4e-0000-4000-8000-000000000002", domain={"firmware": Firmware(uuid=SECOND)})
    shared = await start(bench, other, 1)
    assert threadpins.read(shared) == Pins()
    live = await start(bench, dedicated(cores=2), 2)
    own = bench.agent.records.of_key(*key())
    assert own is not None
    assert own.cpus == (1, 2)
    assert pins(live) == ["1", "2"]
    vcpu = live.find("vcpu")
    assert vcpu is not None
    assert vcpu.get("cpuset") == "1-2"
    left = frozenset({0, 3})
    await bench.eventually(lambda: {threadpins.read(shared).of(t) for t in threadpins.threads(shared)} == {left})
    await bench.client.delete(VirtualMachineInstance, key())
    await bench.eventually(lambda: threadpins.read(shared).of(EMULATOR) == frozenset(range(4)))


async def test_a_killed_agent_gives_nobody_the_cpus_of_another(bench: Bench) -> None:
    first = await admit(bench, dedicated(cores=2), 2)
    await bench.until(Pod, first.key, is_ready)
    await bench.stop_agent()  # the CPUs are given, and nothing has been started
    await bench.start_agent()
    second = dedicated("vm2", uid="7f0c1f4e-0000-4000-8000-000000000002", uuid=SECOND)
    live = await start(bench, second, 1)
    assert pins(live) == ["3"]
    await bench.hand_over(dedicated())
    await bench.until(VirtualMachineInstance, key(), lambda v: phase(v) == "Running")
    found = bench.hypervisor.fakes[DOMAIN].live
    assert found is not None
    assert pins(found) == ["1", "2"]


async def test_a_lost_record_is_made_anew_with_the_cpus_of_the_domain(bench: Bench) -> None:
    await start(bench, dedicated(cores=2), 2)
    record = bench.agent.records.of_key(*key())
    assert record is not None
    uid = record.uid
    await bench.stop_agent()
    bench.agent.records.directory(uid).record.unlink()
    await bench.start_agent()
    await bench.eventually(lambda: (r := bench.agent.records.get(uid)) is not None and r.cpus == (1, 2))


async def test_a_launcher_waits_for_cpus_that_an_earlier_one_still_has(bench: Bench) -> None:
    await start(bench, dedicated(cores=2), 2)
    pod = await admit(bench, dedicated("vm2", cores=2, uid="7f0c1f4e-0000-4000-8000-000000000002", uuid=SECOND), 2)
    waiting = await bench.until(Pod, pod.key, lambda p: p is not None and "are free" in json.dumps(_messages(p)))
    assert waiting is not None
    await bench.client.delete(VirtualMachineInstance, key())
    assert is_ready(await bench.until(Pod, pod.key, is_ready))


def _messages(pod: Pod) -> list[str]:
    return [s.state.waiting.message or "" for s in pod.status.container_statuses if s.state.waiting]


async def test_a_launcher_that_wants_more_than_the_node_ever_gives_is_rejected(bench: Bench) -> None:
    pod = await admit(bench, dedicated(cores=4), 4)
    failed = await bench.until(Pod, pod.key, lambda p: p is not None and p.status.phase == "Failed")
    assert failed is not None
    assert failed.status.reason == "UnexpectedAdmissionError"
    assert "requested=4, available=3" in (failed.status.message or "")
    assert len(bench.agent.records) == 0


async def test_sockets_are_plugged_once_the_launcher_has_cpus_for_them(bench: Bench) -> None:
    cpu = CPU(cores=1, sockets=1, threads=1, max_sockets=3, dedicated_cpu_placement=True)
    grown = vmi(domain={"cpu": cpu})
    live = await start(bench, grown, 2)
    record = bench.agent.records.of_key(*key())
    assert record is not None
    vcpu, listed = live.find("vcpu"), live.find("vcpus")
    assert vcpu is not None
    assert listed is not None
    vcpu.set("current", "1")  # as libvirt counts the enabled ones
    live.remove(listed)
    body: dict[str, Any] = {"spec": {"domain": {"cpu": {"sockets": 2}}}}
    await bench.client.patch(VirtualMachineInstance, key(), body)
    await bench.eventually(lambda: vcpu.get("current") == "2")
    await bench.client.patch(VirtualMachineInstance, key(), {"spec": {"domain": {"cpu": {"sockets": 3}}}})
    await bench.until(VirtualMachineInstance, key(), lambda v: v is not None and v.spec.domain.cpu.sockets == 3)  # type: ignore[union-attr]
    bench.agent.look(record.uid)
    await bench.eventually(lambda: threadpins.read(live).threads[Thread("vcpu", 1)] == {2})
    assert vcpu.get("current") == "2"


LIVE = """
<domain><vcpu cpuset='0-3' current='2'>4</vcpu><iothreads>2</iothreads>
  <cputune><shares>102</shares><vcpupin vcpu='1' cpuset='2'/><emulatorpin cpuset='3'/></cputune>
  <memtune><hard_limit unit='KiB'>4096</hard_limit></memtune>
  <numatune><memory mode='strict' nodeset='0'/></numatune></domain>
"""


def test_only_threads_that_are_there_and_elsewhere_are_pinned() -> None:
    domain = ET.fromstring(LIVE)
    target = Pins(frozenset({3}), {Thread("vcpu", 1): frozenset({2})})
    assert threadpins.steps(domain, target, set(range(4))) == [
        (Thread("vcpu", 0), frozenset({3})),
        (Thread("iothread", 1), frozenset({3})),
        (Thread("iothread", 2), frozenset({3})),
    ]
    assert threadpins.steps(domain, Pins(), set(range(4))) == [
        (Thread("vcpu", 1), frozenset(range(4))),
        (EMULATOR, frozenset(range(4))),
    ]


def test_a_guest_that_moves_gets_the_cpus_of_its_target_and_no_limits() -> None:
    domain = ET.fromstring(LIVE)
    made = ET.fromstring(
        "<domain><vcpu cpuset='5-6'>4</vcpu><cputune><vcpupin vcpu='0' cpuset='5'/></cputune></domain>"
    )
    for_target(domain, TargetFacts(cpus=placement.of_domain(made)), "")
    assert [pin.get("cpuset") for pin in domain.findall("cputune/*")] == ["5"]
    assert threadpins.read(domain).common == {5, 6}
    assert domain.find("memtune") is domain.find("numatune") is None
    for_target(domain, TargetFacts(cpus=TargetCpus()), "")
    assert threadpins.read(domain) == Pins()


def test_the_topology_of_the_target_names_cells_and_siblings() -> None:
    told = json.loads(placement.topology_text((HostCell(1, ((2, 6),), {0: 21, 1: 10}),)))
    assert told["numa_cells"] == [
        {
            "id": 1,
            "distances": [{"id": 0, "value": 21}, {"id": 1, "value": 10}],
            "cpus": [{"id": 2, "siblings": [2, 6]}, {"id": 6, "siblings": [2, 6]}],
        }
    ]


def test_cells_are_read_from_the_capabilities() -> None:
    document = ET.fromstring(
        """<capabilities><host><topology><cells num='2'>
          <cell id='0'><distances><sibling id='0' value='10'/><sibling id='1' value='20'/></distances>
            <cpus num='2'><cpu id='0' siblings='0,2'/><cpu id='2' siblings='0,2'/><cpu id='3'/></cpus></cell>
          <cell id='1'><cpus num='0'/></cell></cells></topology></host></capabilities>"""
    )
    assert capabilities.host(document).cells == (HostCell(0, ((0, 2),), {0: 10, 1: 20}),)


def test_huge_pages_count_where_libvirt_can_use_them(tmp_path: Path) -> None:
    for name, pages in (("hugepages-2048kB", 40), ("hugepages-1048576kB", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nr_hugepages").write_text(f"{pages}\n")
    (tmp_path / "mounts").write_text(
        "hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0\nproc /proc proc rw 0 0\n"
    )
    pages_there = hugepages.reserved(tmp_path)
    usable = hugepages.mounted(tmp_path / "mounts")
    assert hugepages.resources(pages_there, pages_there) == {"hugepages-2Mi": "80Mi", "hugepages-1Gi": "1Gi"}
    assert hugepages.resources(pages_there, usable) == {"hugepages-2Mi": "80Mi", "hugepages-1Gi": "0"}


@pytest.mark.parametrize(("reserved", "count"), [("all", "0"), ("0-1", "2"), ("nonsense", "3")])
async def test_the_host_keeps_what_it_is_told_to_keep(bench: Bench, reserved: str, count: str) -> None:
    await bench.stop_agent()
    bench.settings = replace(bench.settings, reserved_cpus=reserved)
    await bench.start_agent()
    found = lambda n: n is not None and n.status.allocatable.get("kvtui.io/exclusive-cpu") == count  # noqa: E731
    node = await bench.until(Node, ("", NODE), found)
    assert node is not None
    labelled = await bench.until(
        Node,
        ("", NODE),
        lambda n: n is not None and n.metadata.labels.get("cpumanager") == ("false" if count == "0" else "true"),
    )
    assert labelled is not None

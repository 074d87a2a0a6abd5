"""vCPUs, their models, and where they run."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.domainxml import Context, ConversionError, HostCell

from .builders import attributes, domain_of, only

TWO_CELLS = (
    HostCell.of(0, {0: (0, 1), 1: (0, 1), 2: (2, 3), 3: (2, 3)}, {0: 10, 1: 21}),
    HostCell.of(1, {4: (4, 5), 5: (4, 5), 6: (6, 7), 7: (6, 7)}, {0: 21, 1: 10}),
)


def pins(cpu_set: tuple[int, ...], **cpu: Any) -> list[str]:
    domain = domain_of(Context(cpu_set=cpu_set, numa=TWO_CELLS), domain={"cpu": {"dedicatedCpuPlacement": True, **cpu}})
    return [pin.get("cpuset", "") for pin in domain.findall("cputune/vcpupin")]


@pytest.mark.parametrize(
    ("cpu", "threads"),
    [
        ({"sockets": 1, "cores": 2, "threads": 1}, ["1", "2"]),
        ({"sockets": 1, "cores": 2, "threads": 2}, ["2", "3", "4", "5"]),
        ({"sockets": 1, "cores": 3, "threads": 2}, ["2", "3", "4", "5", "1", "6"]),
    ],
)
def test_whole_host_cores_come_first_then_left_overs(cpu: dict[str, int], threads: list[str]) -> None:
    assert pins((1, 2, 3, 4, 5, 6), **cpu) == threads


def test_a_guest_that_mirrors_cells_never_splits_a_core_between_them() -> None:
    cpu = {"cores": 3, "threads": 2, "numa": {"guestMappingPassthrough": {}}}
    with pytest.raises(ConversionError, match="could not fit 1 core\\(s\\) without crossing numa cell boundaries"):
        pins((1, 2, 3, 4, 5, 6), **cpu)


def test_too_few_threads_are_told() -> None:
    with pytest.raises(ConversionError, match="not enough exclusive threads provided, could not fit 2 core") as refusal:
        pins((0, 1), cores=4)
    assert refusal.value.field == "spec.domain.cpu"


def test_a_node_without_cells_has_single_thread_cores() -> None:
    domain = domain_of(Context(cpu_set=(7, 9)), domain={"cpu": {"cores": 2, "dedicatedCpuPlacement": True}})
    assert [pin.get("cpuset") for pin in domain.findall("cputune/vcpupin")] == ["7", "9"]


def test_the_emulator_takes_a_thread_of_its_own_or_misses_one() -> None:
    cpu = {"cores": 2, "dedicatedCpuPlacement": True, "isolateEmulatorThread": True}
    domain = domain_of(Context(cpu_set=(0, 1, 2), numa=TWO_CELLS), domain={"cpu": cpu})
    assert attributes(domain, "cputune/emulatorpin") == {"cpuset": "2"}
    with pytest.raises(ConversionError, match="no CPU allocated for the emulation thread"):
        domain_of(Context(cpu_set=(0, 1), numa=TWO_CELLS), domain={"cpu": cpu})


@pytest.mark.parametrize(
    ("cores", "disks", "expected"),
    [
        (4, 1, [("1", "0,1,2,3")]),
        (4, 3, [("1", "0,1"), ("2", "2"), ("3", "3")]),
        (2, 3, [("1", "1"), ("2", "0"), ("3", "1")]),
    ],
)
def test_io_threads_share_the_vcpus_threads_evenly(cores: int, disks: int, expected: list[tuple[str, str]]) -> None:
    domain = domain_of(
        Context(cpu_set=tuple(range(cores)), numa=TWO_CELLS),
        domain={
            "cpu": {"cores": cores, "dedicatedCpuPlacement": True},
            "ioThreadsPolicy": "auto",
            "resources": {"requests": {"cpu": "4"}},
        },
        devices={"disks": [{"name": f"d{n}", "disk": {"bus": "virtio"}} for n in range(disks)]},
    )
    found = [(pin.get("iothread"), pin.get("cpuset")) for pin in domain.findall("cputune/iothreadpin")]
    assert found == expected


def test_a_core_that_fits_in_part_is_pinned_in_part() -> None:
    domain = domain_of(
        Context(cpu_set=(0, 1, 2), numa=TWO_CELLS),
        domain={"cpu": {"cores": 2, "threads": 2, "dedicatedCpuPlacement": True}, "ioThreadsPolicy": "auto"},
        devices={"disks": [{"name": "d", "disk": {"bus": "virtio"}}]},
    )
    assert [pin.get("cpuset") for pin in domain.findall("cputune/vcpupin")] == ["0", "1", "2"]


def test_a_pool_of_io_threads_is_pinned_to_threads_of_its_own() -> None:
    domain = domain_of(
        Context(cpu_set=(0, 1, 2, 3, 4, 5), numa=TWO_CELLS),
        domain={
            "cpu": {"cores": 2, "dedicatedCpuPlacement": True, "isolateEmulatorThread": True},
            "ioThreadsPolicy": "supplementalPool",
            "ioThreads": {"supplementalPoolThreadCount": 2},
        },
    )
    assert [pin.get("cpuset") for pin in domain.findall("cputune/iothreadpin")] == ["2", "3"]
    assert attributes(domain, "cputune/emulatorpin") == {"cpuset": "4"}


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"guest": "64Mi"}, "restricted to VMIs with hugepages"),
        ({"guest": "2Mi", "hugepages": {"pageSize": "2Mi"}}, "at least one hugepage per numa node"),
        ({"guest": "63Mi", "hugepages": {"pageSize": "2Mi"}}, "divided through the numa page size"),
        ({"guest": "64Mi", "hugepages": {"pageSize": "0"}}, "a huge page has no size"),
        ({"guest": "64Mi", "hugepages": {"pageSize": "big"}}, "quantities must match"),
    ],
)
def test_mirrored_cells_need_whole_huge_pages(memory: dict[str, Any], message: str) -> None:
    cpu = {"cores": 2, "dedicatedCpuPlacement": True, "numa": {"guestMappingPassthrough": {}}}
    with pytest.raises(ConversionError, match=message):
        domain_of(Context(cpu_set=(3, 4), numa=TWO_CELLS), domain={"cpu": cpu, "memory": memory})


def test_guests_are_told_that_their_cpus_are_dedicated_on_amd64_only() -> None:
    cpu = {"cpu": {"dedicatedCpuPlacement": True}}
    context = Context(cpu_set=(0,))
    assert domain_of(context, domain=cpu).find("features/kvm/hint-dedicated") is not None
    assert domain_of(context, domain=cpu, spec={"architecture": "arm64"}).find("features/kvm") is None


@pytest.mark.parametrize(
    ("resources", "vcpus"),
    [({"limits": {"cpu": "3"}}, "3"), ({"requests": {"cpu": "1500m"}}, "2"), ({}, "1")],
)
def test_sockets_follow_the_resources_when_nothing_else_is_said(resources: dict[str, Any], vcpus: str) -> None:
    assert only(domain_of(domain={"cpu": None, "resources": resources}), "vcpu").text == vcpus


def test_absurd_topologies_are_refused() -> None:
    with pytest.raises(ConversionError, match="are not between 1 and"):
        domain_of(domain={"cpu": {"sockets": 100_000, "cores": 100_000}})
    with pytest.raises(ConversionError, match="are not between 1 and"):
        domain_of(domain={"cpu": {"sockets": -1}})


def test_arm_guests_do_not_grow() -> None:
    domain = domain_of(spec={"architecture": "arm64"}, domain={"cpu": {"sockets": 1, "maxSockets": 4}})
    assert only(domain, "vcpu").text == "1"
    assert domain.find("vcpus") is None
    assert domain.find("cpu/feature") is None

"""Instancetypes and preferences applied to a template."""

from __future__ import annotations

from typing import Any

import pytest

from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceTemplateSpec
from kvtui.api.wire import from_wire, to_wire
from kvtui.virtapi.instancetype import instancetype, preference, topology


def preferring(**spec: Any) -> VirtualMachinePreferenceSpec:
    return from_wire(spec, VirtualMachinePreferenceSpec)


def template(**domain: Any) -> VirtualMachineInstanceTemplateSpec:
    return from_wire({"spec": {"domain": {"devices": {}, **domain}}}, VirtualMachineInstanceTemplateSpec)


@pytest.mark.parametrize(
    ("vcpus", "cpu", "expected"),
    [
        (1, {"preferredCPUTopology": "spread"}, (1, 1, 1)),
        (4, {}, (4, 1, 1)),
        (4, {"preferredCPUTopology": "preferCores"}, (1, 4, 1)),
        (4, {"preferredCPUTopology": "threads"}, (1, 1, 4)),
        (4, {"preferredCPUTopology": "any"}, (4, 1, 1)),
        (6, {"preferredCPUTopology": "spread"}, (3, 2, 1)),
        (6, {"preferredCPUTopology": "spread", "spreadOptions": {"ratio": 3}}, (2, 3, 1)),
        (8, {"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads"}}, (1, 4, 2)),
        (8, {"preferredCPUTopology": "spread", "spreadOptions": {"across": "SocketsCoresThreads"}}, (2, 2, 2)),
    ],
)
def test_topology(vcpus: int, cpu: dict[str, Any], expected: tuple[int, int, int]) -> None:
    assert topology.split(vcpus, preferring(cpu=cpu)) == expected


def test_an_overcommitted_guest_requests_less() -> None:
    chosen = from_wire(
        {"cpu": {"guest": 2}, "memory": {"guest": "1Gi", "overcommitPercent": 50}}, VirtualMachineInstancetypeSpec
    )
    domain = to_wire(instancetype.apply(template(), chosen, None).spec.domain)
    assert domain["cpu"] == {"sockets": 2, "cores": 1, "threads": 1}
    assert domain["memory"] == {"guest": "1Gi"}
    assert domain["resources"] == {"requests": {"memory": "512Mi"}}


def test_a_preference_fills_what_is_open() -> None:
    wanted = preferring(
        devices={"preferredDiskBus": "virtio", "preferredCdromBus": "scsi", "preferredInterfaceModel": "virtio"},
        firmware={"preferredUseEfi": True, "preferredUseSecureBoot": False},
        features={"preferredAcpi": {"enabled": False}},
        clock={"preferredTimer": {"hpet": {"present": False}}},
    )
    before = template(
        devices={
            "disks": [{"name": "a"}, {"name": "b", "disk": {"bus": "sata"}}, {"name": "c", "cdrom": {}}],
            "interfaces": [{"name": "n", "masquerade": {}}],
        },
        features={"acpi": {"enabled": True}},
    )
    domain = to_wire(preference.apply(before, wanted).spec.domain)
    buses = [
        next(target["bus"] for target in disk.values() if isinstance(target, dict))
        for disk in domain["devices"]["disks"]
    ]
    assert buses == ["virtio", "sata", "scsi"]
    assert domain["devices"]["interfaces"][0]["model"] == "virtio"
    assert domain["firmware"] == {"bootloader": {"efi": {"secureBoot": False}}}
    assert domain["features"]["acpi"] == {"enabled": False}
    assert domain["clock"]["timer"] == {"hpet": {"present": False}}


def test_conflicts_name_the_fields() -> None:
    chosen = from_wire({"cpu": {"guest": 2}, "memory": {"guest": "1Gi"}}, VirtualMachineInstancetypeSpec)
    before = template(cpu={"cores": 1}, memory={"guest": "1Gi"}, resources={"limits": {"memory": "1Gi"}})
    assert instancetype.conflicts(before, chosen) == ["domain.cpu.cores", "domain.memory.guest"]

"""What a VM's instance gets beyond its template."""

from __future__ import annotations

import pytest

from kvtui.api.kubevirt.instancetype import DevicePreferences
from kvtui.api.kubevirt.vm import VirtualMachineMemoryDumpRequest
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.wire import from_wire
from kvtui.controllers.virtualmachine import memorydump
from kvtui.controllers.virtualmachine.instance import with_default_input, with_default_memory
from tests.controllers.builders import guest


@pytest.mark.parametrize(
    ("preferred", "expected"),
    [
        (None, ("default-0", "usb", "tablet")),
        (DevicePreferences(preferred_input_bus="virtio"), ("default-0", "virtio", "tablet")),
    ],
)
def test_the_input_that_is_attached_by_itself_follows_the_preference(
    preferred: DevicePreferences | None, expected: tuple[str, str, str]
) -> None:
    spec = from_wire(guest(devices={"autoattachInputDevice": True}), VirtualMachineInstanceSpec)
    (device,) = with_default_input(spec, preferred).domain.devices.inputs
    assert (device.name, device.bus, device.type) == expected


@pytest.mark.parametrize(
    ("phase", "kept"),
    [("Associating", True), ("InProgress", True), ("Unmounting", False), ("Completed", False), ("Failed", False)],
)
def test_a_start_makes_no_dump_that_has_been_made(phase: str, kept: bool) -> None:
    volumes = [{"name": "root", "emptyDisk": {"capacity": "1Gi"}}, {"name": "d", "memoryDump": {"claimName": "d"}}]
    spec = from_wire({**guest(), "volumes": volumes}, VirtualMachineInstanceSpec)
    request = VirtualMachineMemoryDumpRequest(claim_name="d", phase=phase)
    left = [v.name for v in memorydump.without_done(spec, request).volumes]
    assert left == (["root", "d"] if kept else ["root"])


@pytest.mark.parametrize(
    ("domain", "memory"),
    [
        ({}, "512Mi"),
        ({"memory": {"guest": "1Gi"}}, "1Gi"),
        ({"memory": {"hugepages": {"pageSize": "2Mi"}}}, None),
        ({"resources": {"requests": {"memory": "64Mi"}}}, None),
        ({"resources": {"limits": {"memory": "64Mi"}}}, None),
    ],
)
def test_a_vm_that_says_nothing_about_memory_gets_some(domain: dict[str, object], memory: str | None) -> None:
    made = with_default_memory(from_wire({"domain": domain}, VirtualMachineInstanceSpec)).domain.memory
    assert (made.guest if made else None) == memory

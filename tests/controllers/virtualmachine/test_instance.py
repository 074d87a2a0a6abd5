"""What a VM's instance gets beyond its template."""

from __future__ import annotations

import pytest

from kvtui.api.kubevirt.instancetype import DevicePreferences
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.api.wire import from_wire
from kvtui.controllers.virtualmachine.instance import with_default_input
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

"""Pointer and keyboard: spec.domain.devices.inputs -> <input>.

Source: https://libvirt.org/formatdomain.html#input-devices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, alias, element
from kvtui.domainxml.errors import UnsupportedDevice

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import Input
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    parts = [_input(device, f"spec.domain.devices.inputs[{n}]") for n, device in enumerate(guest.devices.inputs)]
    return parts + (_for_the_screen(guest) if guest.graphics else [])


def _input(device: Input, field: str) -> Element:
    bus = device.bus or "usb"
    if bus not in ("usb", "virtio"):
        raise UnsupportedDevice(f"input contains unsupported bus {bus}", field=f"{field}.bus")
    if device.type != "tablet":
        raise UnsupportedDevice(f"input contains unsupported type {device.type}", field=f"{field}.type")
    model = "virtio" if bus == "virtio" else None
    return element("input", alias(device.name), type="tablet", bus=bus, model=model)


def _for_the_screen(guest: Guest) -> list[Element]:
    """Architectures without legacy input devices need some for their screen."""
    if guest.arch is Arch.S390X:
        return [element("input", type="keyboard", bus="virtio")]
    if guest.arch is not Arch.ARM64:
        return []
    tablet = [] if guest.devices.inputs else [element("input", type="tablet", bus="usb")]
    return [*tablet, element("input", type="keyboard", bus="usb")]

"""Panic devices: spec.domain.devices.panicDevices -> <panic>.

Source: https://libvirt.org/formatdomain.html#panic-device
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    return [element("panic", model=device.model or None) for device in guest.devices.panic_devices]

"""USB devices of a client: spec.domain.devices.clientPassthrough -> <redirdev>.

Source: https://libvirt.org/formatdomain.html#redirected-devices
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

SLOTS = 4
"""Devices that may be redirected at a time."""


def build(guest: Guest) -> list[Element]:
    if guest.devices.client_passthrough is None:
        return []
    return [
        element(
            "redirdev",
            element("source", mode="bind", path=guest.paths.usb_redirect_socket(slot)),
            bus="usb",
            type="unix",
        )
        for slot in range(SLOTS)
    ]

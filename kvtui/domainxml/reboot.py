"""What a guest's reboot does: spec.domain.rebootPolicy -> <on_reboot>.

Source: https://libvirt.org/formatdomain.html#events-configuration
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

ACTIONS = {"Terminate": "destroy", "Reboot": "restart"}


def build(guest: Guest) -> list[Element]:
    policy = guest.domain.reboot_policy
    if not policy:
        return []
    if policy not in ACTIONS:
        raise ConversionError(f"reboot policy {policy} not recognized", field="spec.domain.rebootPolicy")
    return [element("on_reboot", ACTIONS[policy])]

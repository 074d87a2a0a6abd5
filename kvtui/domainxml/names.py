"""Names of devices by their user alias, which is ua- and the name in the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvtui.domainxml.elements import Element

PREFIX = "ua-"


def name_of(device: Element) -> str:
    """The name in the spec; empty for a device with an alias of libvirt's own."""
    found = device.find("alias")
    text = "" if found is None else found.get("name", "")
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else ""

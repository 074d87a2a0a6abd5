"""Shared file systems by virtiofs: spec.domain.devices.filesystems -> <filesystem>.

Source: https://libvirt.org/formatdomain.html#filesystems
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.paths import component

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

QUEUE = 1024


def build(guest: Guest) -> list[Element]:
    parts = []
    for index, shared in enumerate(guest.devices.filesystems):
        if shared.virtiofs is None:
            continue
        name = component(shared.name, f"spec.domain.devices.filesystems[{index}].name")
        parts.append(
            element(
                "filesystem",
                element("driver", type="virtiofs", queue=QUEUE),
                element("source", dir="", socket=guest.paths.virtiofs_socket(name)),
                element("target", dir=name),
                type="mount",
                accessMode="passthrough",
            )
        )
    return parts

"""Memory size and backing: spec.domain.memory -> <memory>, <maxMemory>, <memoryBacking>.

Source: https://libvirt.org/formatdomain.html#memory-allocation and #memory-backing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    memory = guest.domain.memory
    size = guest.bytes(guest.guest_memory, "spec.domain.memory.guest")
    parts = [element("memory", size, unit="b")]
    if memory and memory.max_guest is not None:
        most = guest.bytes(memory.max_guest, "spec.domain.memory.maxGuest")
        if most != size:
            parts.append(element("maxMemory", most, unit="b", slots=0))
    return parts + _backing(guest)


def _backing(guest: Guest) -> list[Element]:
    parts = []
    numa = guest.pinning.numa if guest.pinning else None
    if guest.hugepages:
        pages = [
            element("page", size=numa.page_size, unit="b", nodeset=cell)
            for cell in range(len(numa.cells) if numa else 0)
            if numa is not None
        ]
        parts.append(group("hugepages", pages))
    if guest.memfd:
        parts.append(element("source", type="memfd"))
    if guest.shared_memory:
        parts.append(element("access", mode="shared"))
    if numa is not None:
        parts.append(element("allocation", mode="immediate"))
        if guest.realtime:
            parts.append(element("nosharepages"))
    return [group("memoryBacking", parts)] if parts else []

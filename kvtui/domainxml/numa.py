"""NUMA cells of the guest that mirror the node's: cpu.numa.guestMappingPassthrough -> <numa>, <numatune>.

Only cells whose threads the guest uses appear. Memory is dealt out in whole huge pages, lower cells getting the rest.

Source: KubeVirt's NUMA placement; https://libvirt.org/formatdomain.html#numa-node-tuning
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kvtui.domainxml.guest import Guest

_FIELD = "spec.domain.cpu.numa"


@dataclass(frozen=True, slots=True)
class GuestCell:
    """One NUMA cell of the guest; its id is its place in the list."""

    host_cell: int
    vcpus: tuple[int, ...]
    memory: int
    """Bytes."""
    distances: Mapping[int, int]
    """Distance to each of the guest's cells, by guest cell id."""


@dataclass(frozen=True, slots=True)
class GuestNuma:
    """The mirrored topology."""

    cells: tuple[GuestCell, ...]
    page_size: int
    """Bytes of a huge page."""


def mirror(guest: Guest, threads: Sequence[int]) -> GuestNuma | None:
    """The guest's cells for vCPUs on these host threads; None if the node reports no cells. Raises ConversionError."""
    host = guest.context.numa
    if not host:
        return None
    home = {thread: cell.id for cell in host for core in cell.cores for thread in core}
    vcpus: dict[int, list[int]] = {}
    for vcpu, thread in enumerate(threads):
        vcpus.setdefault(home[thread], []).append(vcpu)
    used = [cell for cell in host if cell.id in vcpus]
    page_size = _page_size(guest)
    shares = _shares(guest, page_size, len(used))
    cells = tuple(
        GuestCell(
            cell.id,
            tuple(vcpus[cell.id]),
            share,
            {other: cell.distances[peer.id] for other, peer in enumerate(used) if peer.id in cell.distances},
        )
        for cell, share in zip(used, shares, strict=True)
    )
    return GuestNuma(cells, page_size)


def _page_size(guest: Guest) -> int:
    memory = guest.domain.memory
    if memory is None or memory.hugepages is None:
        raise ConversionError(
            "passing through a numa topology is restricted to VMIs with hugepages enabled", field=_FIELD
        )
    size = guest.bytes(memory.hugepages.page_size or "0", "spec.domain.memory.hugepages.pageSize")
    if not size:
        raise ConversionError("a huge page has no size", field="spec.domain.memory.hugepages.pageSize")
    return size


def _shares(guest: Guest, page_size: int, cells: int) -> list[int]:
    memory = guest.bytes(guest.guest_memory, "spec.domain.memory.guest")
    pages, rest = divmod(memory, page_size)
    if pages < cells:
        raise ConversionError(
            f"not enough memory requested to allocate at least one hugepage per numa node: {memory} < "
            f"{cells * page_size}",
            field=_FIELD,
        )
    if rest:
        raise ConversionError(
            f"requested memory can't be divided through the numa page size: {memory} mod {page_size} != 0",
            field=_FIELD,
        )
    each, longer = divmod(pages, cells)
    return [(each + (1 if n < longer else 0)) * page_size for n in range(cells)]


def cells_xml(mirrored: GuestNuma) -> Element:
    """<numa> for <cpu>."""
    return group(
        "numa",
        [
            group(
                "cell",
                [_distances(cell)] if cell.distances else [],
                id=n,
                cpus=",".join(str(v) for v in cell.vcpus),
                memory=cell.memory,
                unit="b",
            )
            for n, cell in enumerate(mirrored.cells)
        ],
    )


def _distances(cell: GuestCell) -> Element:
    return group("distances", [element("sibling", id=n, value=far) for n, far in cell.distances.items()])


def build(guest: Guest) -> list[Element]:
    mirrored = guest.pinning.numa if guest.pinning else None
    if mirrored is None:
        return []
    everywhere = ",".join(str(cell.host_cell) for cell in mirrored.cells)
    return [
        group(
            "numatune",
            [
                element("memory", mode="strict", nodeset=everywhere),
                *(
                    element("memnode", cellid=n, mode="strict", nodeset=cell.host_cell)
                    for n, cell in enumerate(mirrored.cells)
                ),
            ],
        )
    ]

"""Which CPUs a VM gets for itself alone: as few NUMA cells as possible, whole cores first. Pure.

What is left of a broken core is used before another one is broken, so that whole cores stay for those who come later.

Source: https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/#static-policy
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from kvtui.domainxml.context import HostCell


class NotEnoughCpus(ValueError):
    """Fewer CPUs are free than were asked for."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The CPUs of a node, and which of them may belong to one VM alone."""

    cells: tuple[HostCell, ...]
    reserved: frozenset[int]
    """Never given away: the host, and all guests that share, run there."""

    @property
    def all(self) -> frozenset[int]:
        return frozenset(cpu for cell in self.cells for core in cell.cores for cpu in core)

    @property
    def exclusive(self) -> frozenset[int]:
        return self.all - self.reserved


def pool(cells: Sequence[HostCell], reserved: Set[int] | None = None) -> Pool:
    """`reserved` counts as far as there are such CPUs; without any of them the first core stays with the host."""
    known = Pool(tuple(cells), frozenset())
    kept = frozenset(reserved or ()) & known.all
    if not kept:
        kept = frozenset(next((core for cell in cells for core in cell.cores if core), ()))
    return Pool(known.cells, kept)


def one_cell(count: int) -> tuple[HostCell, ...]:
    """So many cores with one thread each, for a node of which nothing more is known."""
    return (HostCell(0, tuple((cpu,) for cpu in range(count))),) if count else ()


def allocate(cells: Sequence[HostCell], free: Set[int], count: int) -> frozenset[int]:
    """`count` of the free CPUs. Raises NotEnoughCpus."""
    left = {cell.id: [tuple(t for t in core if t in free) for core in cell.cores] for cell in cells}
    whole = {core for cell in cells for core in cell.cores}
    if count < 0 or count > sum(len(core) for cores in left.values() for core in cores):
        raise NotEnoughCpus(f"{count} of {len(free)} CPUs")
    taken: set[int] = set()
    while missing := count - len(taken):
        sizes = {cell: sum(map(len, cores)) for cell, cores in left.items()}
        # The tightest cell that has all; where none has, the roomiest one first.
        fitting = [cell for cell, size in sizes.items() if size >= missing]
        cell = min(fitting, key=lambda c: (sizes[c], c)) if fitting else max(sizes, key=lambda c: (sizes[c], -c))
        taken |= _take(left.pop(cell), whole, missing)
    return frozenset(taken)


def _take(cores: list[tuple[int, ...]], whole: Set[tuple[int, ...]], count: int) -> set[int]:
    """At most `count` CPUs of one cell."""
    taken: set[int] = set()
    broken = sorted((core for core in cores if core and core not in whole), key=lambda core: (len(core), core))
    for core in cores:
        if core in whole and len(core) <= count - len(taken):
            taken.update(core)
    intact = sorted((core for core in cores if core in whole and taken.isdisjoint(core)), key=len)
    for core in (*broken, *intact):
        taken.update(core[: count - len(taken)])
    return taken

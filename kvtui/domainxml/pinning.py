"""Dedicated CPUs: which host thread each vCPU, the emulator and each I/O thread gets -> <cputune>.

Guest threads that share a core are placed on host threads that share one: whole host cores first, cell by cell;
then left-over threads of one cell; then, unless the guest mirrors the node's NUMA cells, left-over threads anywhere.

Source: KubeVirt's vCPU placement; https://libvirt.org/formatdomain.html#cpu-tuning
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtui.domainxml import iothreads, numa
from kvtui.domainxml.elements import Element, element, group
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kvtui.domainxml.guest import Guest, Topology

EVEN_PARITY = "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity"
_FIELD = "spec.domain.cpu"


@dataclass(frozen=True, slots=True)
class Pinning:
    """Where everything runs. `vcpus[n]` is the host thread of vCPU n."""

    vcpus: tuple[int, ...]
    emulator: tuple[int, ...] = ()
    iothreads: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """I/O thread ids with their host threads."""
    numa: numa.GuestNuma | None = None
    """The mirrored NUMA cells, when the guest asked for them."""


@dataclass(slots=True)
class _Cell:
    """Free threads of one NUMA cell: cores that fit a guest core whole, and loose threads."""

    size: int
    """Threads of a guest core."""
    whole: list[list[int]] = field(default_factory=list)
    loose: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, cores: Iterable[Sequence[int]], size: int) -> _Cell:
        cell = cls(size)
        for core in cores:
            if len(core) >= size:
                cell.whole.append(list(core))
            else:
                cell.loose.extend(core)
        return cell

    def take_core(self) -> list[int]:
        """Threads of one host core, or none."""
        return self._take_from_whole(self.size)

    def take_loose(self, count: int) -> list[int]:
        """Up to `count` loose threads."""
        taken, self.loose = self.loose[:count], self.loose[count:]
        return taken

    def take_thread(self) -> int | None:
        """One thread, of a broken core if there is one."""
        taken = self.take_loose(1) or self._take_from_whole(1)
        return taken[0] if taken else None

    def _take_from_whole(self, count: int) -> list[int]:
        if not self.whole:
            return []
        taken, rest = self.whole[0][:count], self.whole[0][count:]
        if len(rest) >= self.size:
            self.whole[0] = rest
        else:
            del self.whole[0]
            self.loose.extend(rest)
        return taken


class _Pool:
    """The free host threads of one VM."""

    def __init__(self, guest: Guest) -> None:
        cpu_set = guest.context.cpu_set
        self._topology: Topology = guest.topology
        self._count = len(cpu_set)
        mine = set(cpu_set)
        # A node that reports no cells is taken as one cell of single-thread cores.
        layout = [cell.cores for cell in guest.context.numa] or [tuple((thread,) for thread in cpu_set)]
        self._cells = [
            _Cell.of([[t for t in core if t in mine] for core in cores], self._topology.threads) for cores in layout
        ]

    def fit_cores(self, *, cross_cells: bool) -> list[int]:
        """A host thread for every vCPU, in vCPU order. Raises ConversionError when they do not fit."""
        size, missing = self._topology.threads, self._topology.sockets * self._topology.cores
        threads: list[int] = []
        for cell in self._cells:
            while missing and (core := cell.take_core()):
                threads += core
                missing -= 1
        for cell in self._cells:
            while missing and len(cell.loose) >= size:
                threads += cell.take_loose(size)
                missing -= 1
        if missing and cross_cells:
            wanted = missing * size
            for cell in self._cells:
                taken = cell.take_loose(wanted)
                threads += taken
                wanted -= len(taken)
            missing = wanted // size  # as upstream counts: of a core that fits in part, the rest is not pinned
        if missing:
            raise ConversionError(self._misfit(missing, cross_cells=cross_cells), field=_FIELD)
        return threads

    def _misfit(self, missing: int, *, cross_cells: bool) -> str:
        if cross_cells or self._count < self._topology.vcpus:
            return f"not enough exclusive threads provided, could not fit {missing} core(s)"
        return f"could not fit {missing} core(s) without crossing numa cell boundaries for individual cores"

    def fit_thread(self, purpose: str) -> int:
        """One more host thread. Raises ConversionError."""
        for cell in self._cells:
            thread = cell.take_thread()
            if thread is not None:
                return thread
        raise ConversionError(f"{purpose}: no remaining unassigned threads", field=_FIELD)


def plan(guest: Guest) -> Pinning | None:
    """The placement of a guest with dedicated CPUs; None for all others. Raises ConversionError."""
    if not guest.dedicated_cpus:
        return None
    pool = _Pool(guest)
    vcpus = tuple(pool.fit_cores(cross_cells=not guest.numa_passthrough))
    pool_size = iothreads.supplemental_count(guest)
    supplemental = [(n, (pool.fit_thread("no CPU allocated for the iothread"),)) for n in range(1, pool_size + 1)]
    emulator: tuple[int, ...] = ()
    if guest.isolated_emulator:
        emulator = (pool.fit_thread("no CPU allocated for the emulation thread"),)
        pinned = len(vcpus) + pool_size
        if EVEN_PARITY in guest.vmi.metadata.annotations and pinned % 2 == 0:
            emulator += (pool.fit_thread("no second CPU allocated for the emulation thread"),)
    return Pinning(
        vcpus,
        emulator,
        tuple(supplemental) or _shared_iothreads(guest, emulator),
        numa.mirror(guest, vcpus) if guest.numa_passthrough else None,
    )


def _shared_iothreads(guest: Guest, emulator: tuple[int, ...]) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """I/O threads without CPUs of their own run beside the emulator, or beside the vCPUs."""
    threads, cpus, vcpus = iothreads.total(guest), guest.context.cpu_set, guest.topology.vcpus
    if not threads:
        return ()
    if guest.isolated_emulator:
        return ((1, emulator),)
    if threads >= vcpus:
        return tuple((n, (cpus[n % min(vcpus, len(cpus))],)) for n in range(1, threads + 1))
    share, longer = divmod(vcpus, threads)
    pins, start = [], 0
    for n in range(1, threads + 1):
        end = start + share + (1 if n <= longer else 0)
        pins.append((n, cpus[start:end]))
        start = end
    return tuple(pins)


def build(guest: Guest) -> list[Element]:
    pinning = guest.pinning
    if pinning is None:
        return []
    pins = [element("vcpupin", vcpu=vcpu, cpuset=thread) for vcpu, thread in enumerate(pinning.vcpus)]
    if pinning.emulator:
        pins.append(element("emulatorpin", cpuset=_cpu_list(pinning.emulator)))
    pins += [element("iothreadpin", iothread=n, cpuset=_cpu_list(threads)) for n, threads in pinning.iothreads]
    return [group("cputune", pins)]


def _cpu_list(threads: Iterable[int]) -> str:
    return ",".join(str(thread) for thread in threads)

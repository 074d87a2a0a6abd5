"""A running guest's memory into a claim, as an ELF core: what a memoryDump volume of the spec asks for.

One dump for each stay of the volume in the spec. A dump that an earlier agent began is made anew, because nobody has
heard how it ended.

Source: kubevirt pkg/virt-launcher/virtwrap (memory dump); https://libvirt.org/html/libvirt-libvirt-domain.html
#virDomainCoreDumpWithFormat
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import structlog

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import to_time
from kvtui.client.rest import Client
from kvtui.errors import InvalidObject, KvtuiError
from kvtui.node.hypervisor import DomainId, Hypervisor
from kvtui.node.layout import Layout
from kvtui.node.state import Record
from kvtui.node.status import DUMPING, Dump
from kvtui.node.volumes import claims

log = structlog.get_logger()
SUFFIX = "memory.dump"
MARGIN = 100 * 2**20
"""Bytes besides the guest's memory."""
COMPLETED, FAILED = "MemoryDumpCompleted", "MemoryDumpFailed"
BEGINS = ("AttachedToNode", "MountedToPod", DUMPING)
"""Phases of a volume in which a dump that this agent knows nothing of is begun."""


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be dumped where."""

    vmi: VirtualMachineInstance
    domain: DomainId
    volume: str
    dump: Dump


@dataclass(slots=True)
class MemoryDumps:
    """All dumps of a node; `run` owns their tasks. `look` has somebody look at a VMI whose dump has got further."""

    hypervisor: Hypervisor
    client: Client
    layout: Layout
    clock: Callable[[], datetime]
    look: Callable[[str], None]
    _dumps: dict[str, dict[str, Dump]] = field(default_factory=dict)
    _orders: asyncio.Queue[_Order] = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        """One after the other: each of them stops its guest for a while and fills the disk's queue."""
        while True:
            order = await self._orders.get()
            dump = await self._carry_out(order)
            known = self._dumps.get(order.vmi.metadata.uid, {})
            if order.volume in known:
                known[order.volume] = dump
            self.look(order.vmi.metadata.uid)

    def states(self, uid: str) -> Mapping[str, Dump]:
        """By volume."""
        return self._dumps.get(uid, {})

    def forget(self, uid: str) -> None:
        """The domain of this VMI is gone."""
        self._dumps.pop(uid, None)

    def sync(self, vmi: VirtualMachineInstance, record: Record) -> None:
        """Begins what the spec asks for, and forgets what it does not ask for any more."""
        uid = vmi.metadata.uid
        known = self._dumps.setdefault(uid, {})
        wanted = {v.name: v.memory_dump.claim_name for v in vmi.spec.volumes if v.memory_dump is not None}
        for name in [n for n, dump in known.items() if n not in wanted and dump.phase != DUMPING]:
            del known[name]
        phases = {s.name: s.phase for s in vmi.status.volume_status}
        for name, claim in wanted.items():
            if name in known or phases.get(name) not in BEGINS:
                continue
            now = self.clock()
            file = f"{vmi.metadata.name}-{name}-{now:%Y%m%d-%H%M%S}.{SUFFIX}"
            known[name] = Dump(claim, file, to_time(now))
            self._orders.put_nowait(_Order(vmi, DomainId(record.domain), name, known[name]))
        if not known:
            del self._dumps[uid]

    async def _carry_out(self, order: _Order) -> Dump:
        path: Path | None = None
        try:
            claim = await claims.resolve(self.client, self.layout, order.vmi.metadata.namespace, order.dump.claim)
            path = claim.path / order.dump.file
            await asyncio.to_thread(_make_room, claim)
            memory = (await self.hypervisor.memory_stats(order.domain)).get("actual", 0)
            await asyncio.to_thread(_check_room, claim.path, memory * 1024 + MARGIN)
            await self.hypervisor.core_dump(order.domain, str(self.layout.seen(path)))
            await asyncio.to_thread(_persist, path)
        except (KvtuiError, OSError) as error:
            if path is not None:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            log.warning("memory dump failed", vmi=str(order.vmi.key), volume=order.volume, error=str(error))
            return replace(order.dump, phase=FAILED, message=str(error), end=to_time(self.clock()))
        log.info("memory dumped", vmi=str(order.vmi.key), volume=order.volume, file=order.dump.file)
        return replace(order.dump, phase=COMPLETED, end=to_time(self.clock()))


def _make_room(claim: claims.Claim) -> None:
    """The directory, without earlier dumps. Raises InvalidObject for a block volume."""
    if claim.block:
        raise InvalidObject("pvc should be filesystem pvc")
    if claim.ours:
        claim.path.mkdir(mode=0o711, parents=True, exist_ok=True)
    for path in claim.path.iterdir():
        if SUFFIX in path.name and path.is_file() and not path.is_symlink():
            path.unlink()


def _check_room(directory: Path, needed: int) -> None:
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < needed:
        raise InvalidObject(f"the volume has {free} bytes free, the memory dump needs {needed}")


def _persist(path: Path) -> None:
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

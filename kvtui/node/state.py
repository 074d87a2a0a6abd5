"""What the agent remembers of each VMI it has to do with: one JSON record in the VMI's state directory.

A record is written before the step it announces, atomically and durably, so an agent that is killed at any moment
finds what it had begun. Records are keyed by the UID of the VMI; a node has at most one launcher of a VMI at a time.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import structlog

from kvtui.api.wire import Time, Wire, evolve, from_json, to_json
from kvtui.errors import InvalidObject
from kvtui.node.layout import Layout, VmDirectory

log = structlog.get_logger()


class Stage(StrEnum):
    """How far a launcher has come. The order is the order of life."""

    PREPARING = "Preparing"
    """Network and images are being made."""
    READY = "Ready"
    """The sandbox stands; the Pod is Ready."""
    INCOMING = "Incoming"
    """Prepared to receive a migration."""
    STARTING = "Starting"
    """A start was begun; whether QEMU ever ran is not known."""
    STARTED = "Started"
    """QEMU runs, or has run and ended."""
    ENDED = "Ended"
    """The end was reported; what is left is to be removed."""


class OutgoingMigration(Wire, frozen=True):
    """A migration away from this node; it runs once."""

    uid: str = ""
    name: str = ""
    """Of the VirtualMachineInstanceMigration."""
    started: Time | None = None
    ended: Time | None = None
    failed: bool = False
    reason: str = ""
    mode: str = "PreCopy"
    abort: str = ""
    """Aborting, Succeeded or Failed."""


class Record(Wire, frozen=True):
    """One launcher on this node."""

    uid: str = ""
    namespace: str = ""
    name: str = ""
    pod: str = ""
    pod_uid: str = ""
    domain: str = ""
    """UUID, once it is known."""
    stage: Stage = Stage.PREPARING
    paused: bool = False
    """A user wants the guest paused; anything else that is paused is resumed."""
    grace: int = 30
    """Seconds for a graceful shutdown, as last seen in the spec."""
    shutdown_since: Time | None = None
    signalled: Time | None = None
    condemned: bool = False
    """A liveness probe failed: the guest ends as if its Pod had been deleted."""
    thaw: Time | None = None
    """When a frozen guest is thawed if nobody does it before."""
    killed: bool = False
    """Our own hand ended the guest when its grace was over."""
    persistent_state: bool = False
    """NVRAM or TPM state outlives the domain."""
    own_user: bool = False
    """Its QEMU runs as a user of its own; see `identity`."""
    acpi: bool = True
    cpus: tuple[int, ...] = ()
    """CPUs that are this guest's alone, from the launcher's admission until the record is gone."""
    failed: bool = False
    """How the end was reported."""
    message: str = ""
    outgoing: OutgoingMigration | None = None
    incoming: str = ""
    """UID of the migration this launcher was made for."""
    images: dict[str, str] = {}
    """Digest by containerDisk volume, "kernel boot" for the kernel's image."""

    @property
    def moved(self) -> bool:
        """The guest runs on another node now."""
        return self.outgoing is not None and self.outgoing.ended is not None and not self.outgoing.failed

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)


class Records:
    """All records of a node, in memory and on disk. Reading never waits; `save` returns when the disk has it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._records: dict[str, Record] = {}
        self._by_pod: dict[str, str] = {}
        self._by_domain: dict[str, str] = {}
        self._changed = asyncio.Event()
        self.cpus_changed: Callable[[], None] = lambda: None
        """Called when a record with CPUs of its own comes or goes."""

    def load(self) -> None:
        """Reads what is on disk; call once, before anything runs. A directory without a readable record is kept."""
        for directory in sorted(self._layout.vms.iterdir()) if self._layout.vms.is_dir() else []:
            path = directory / "record.json"
            try:
                record = from_json(path.read_bytes(), Record)
            except FileNotFoundError:
                record = Record(uid=directory.name, stage=Stage.ENDED)
            except (InvalidObject, OSError) as error:
                log.error("unreadable record", path=str(path), error=str(error))
                continue
            if record.uid == directory.name:
                self._remember(record)

    def get(self, uid: str) -> Record | None:
        return self._records.get(uid)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def of_pod(self, pod_uid: str) -> Record | None:
        record = self._records.get(self._by_pod.get(pod_uid, ""))
        return record if record is not None and record.pod_uid == pod_uid else None

    def of_domain(self, domain: str) -> Record | None:
        record = self._records.get(self._by_domain.get(domain, ""))
        return record if record is not None and record.domain == domain else None

    def of_key(self, namespace: str, name: str) -> Record | None:
        """The record of a VMI by name; of two incarnations the one that has not ended."""
        found = [r for r in self._records.values() if r.key == (namespace, name)]
        return min(found, key=lambda r: r.stage is Stage.ENDED, default=None)

    def directory(self, uid: str) -> VmDirectory:
        return self._layout.vm(uid)

    async def until(self, uid: str, holds: Callable[[Record], bool]) -> None:
        """Returns when something holds of a record, or when there is no such record."""
        while (record := self._records.get(uid)) is not None and not holds(record):
            await self._changed.wait()

    async def save(self, record: Record) -> Record:
        before = self._records.get(record.uid)
        self._remember(record)
        if record.cpus != (before.cpus if before is not None else ()):
            self.cpus_changed()
        await asyncio.to_thread(_write, self.directory(record.uid).record, to_json(record))
        return record

    async def change(self, record: Record, **changes: object) -> Record:
        """Saves the record with some fields replaced, unless nothing changes."""
        changed = evolve(record, **changes)
        return record if changed == record and self._records.get(record.uid) == record else await self.save(changed)

    def _remember(self, record: Record) -> None:
        self._records[record.uid] = record
        self._by_pod[record.pod_uid] = record.uid
        self._by_domain[record.domain] = record.uid
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def drop(self, uid: str) -> None:
        """Removes the record and the whole state directory."""
        await asyncio.to_thread(_remove, self.directory(uid).own)
        record = self._records.pop(uid, None)
        if record is not None:
            for index, key in ((self._by_pod, record.pod_uid), (self._by_domain, record.domain)):
                if index.get(key) == uid:
                    del index[key]
            if record.cpus:
                self.cpus_changed()
            self._wake()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _remove(directory: Path) -> None:
    if not directory.exists():
        return
    # The record goes last, so that a removal that is cut short is finished by the next agent.
    for entry in directory.iterdir():
        if entry.name == "record.json":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    shutil.rmtree(directory)

"""The revisioned store: all objects in memory, every write durable before anybody sees it.

Writers decide against the *latest* state (which may still be on its way to the disk) and are answered when the
commit is done; readers and watchers see only what is committed, in order of revision. One counter numbers the
writes of all resources; it is what clients know as resourceVersion.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kvtui.apiserver import status
from kvtui.apiserver.database import Change, Compaction, Database, DatabaseBroken, DatabaseFull, Row
from kvtui.apiserver.record import Record, encode
from kvtui.errors import KvtuiError

Key = tuple[str, str]
"""Namespace ("" for cluster scope) and name."""

_PUBLISH_SLICE = 0.004
_PUBLISH_AT_ONCE = 8
"""Writes that are published, and answered, in one turn of the loop."""
_COMPACT_SLICE = 400


class Stale(KvtuiError):
    """The object is no longer what the writer saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How much of the past watches can replay."""

    age: float = 600.0
    """Seconds."""
    events: int = 50_000
    """Per resource."""
    bytes: int = 64 * 1024 * 1024
    """Of superseded versions, per resource."""
    short_age: float = 60.0
    """Seconds, for resources that only ever say `still alive` (Leases, Events)."""


class Event(msgspec.Struct, gc=False, eq=False):
    """One committed change; encodings are made once and shared by all watchers."""

    change: Change
    record: Record
    previous: Record | None
    at: float
    lines: dict[Any, bytes] = msgspec.field(default_factory=dict)

    @property
    def rv(self) -> int:
        return self.record.rv


Listener = Callable[[Event], None]


class Bucket:
    """All objects of one resource, and its recent history."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: dict[Key, Record] = {}
        self.latest: dict[Key, Event] = {}
        """The newest write of a name, while it is not committed."""
        self.keys: list[Key] = []
        """Sorted."""
        self.history: deque[Event] = deque()
        self.floor = 0
        """Changes up to this revision cannot be replayed."""
        self.history_bytes = 0
        self.listeners: list[Listener] = []
        self.short_history = False

    def get(self, key: Key) -> Record | None:
        """The committed state."""
        return self.records.get(key)

    def get_latest(self, key: Key) -> Record | None:
        """The state that the next write builds upon."""
        event = self.latest.get(key)
        if event is None:
            return self.records.get(key)
        return None if event.change is Change.DELETED else event.record

    def keys_in(self, namespace: str | None) -> list[Key]:
        if namespace is None:
            return self.keys
        low = bisect_left(self.keys, (namespace, ""))
        high = bisect_left(self.keys, (namespace + "\0", ""))
        return self.keys[low:high]

    def count(self, namespace: str | None = None) -> int:
        return len(self.keys_in(namespace))

    def scan(self, namespace: str | None = None) -> Iterator[Record]:
        """Committed objects in order; do not await while iterating."""
        records = self.records
        for key in self.keys_in(namespace):
            yield records[key]

    def snapshot(self, namespace: str | None = None) -> list[Record]:
        return list(self.scan(namespace))

    def at(self, revision: int, namespace: str | None = None) -> list[Record]:
        """The objects as they were at a past revision. Raises Failure 410 when history does not reach back."""
        if revision < self.floor:
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a "
                "new list without the continue parameter, or use the continue token in this response to retrieve "
                "the remainder of the results."
            )
        if not self.history or self.history[-1].rv <= revision:
            return self.snapshot(namespace)
        undone: dict[Key, Record | None] = {}
        for event in reversed(self.history):
            if event.rv <= revision:
                break
            undone[event.record.key] = event.previous
        result = [r for r in self.scan(namespace) if r.key not in undone]
        result += [r for r in undone.values() if r is not None and (namespace is None or r.namespace == namespace)]
        result.sort(key=lambda r: r.key)
        return result

    def since(self, revision: int) -> list[Event]:
        """Committed changes after a revision. Raises Failure 410 when history does not reach back."""
        if revision < self.floor:
            raise status.too_old(revision, self.floor)
        events: list[Event] = []
        for event in reversed(self.history):
            if event.rv <= revision:
                break
            events.append(event)
        events.reverse()
        return events

    def apply(self, event: Event) -> None:
        record = event.record
        key = record.key
        if event.change is Change.DELETED:
            if self.records.pop(key, None) is not None:
                del self.keys[bisect_left(self.keys, key)]
        else:
            if key not in self.records:
                insort(self.keys, key)
            self.records[key] = record
        self.remember(event)

    def remember(self, event: Event) -> None:
        self.history.append(event)
        if event.previous is not None:
            self.history_bytes += len(event.previous.data)

    def trim(self, now: float, limits: HistoryLimits) -> list[int]:
        """Forgets old history; returns the revisions whose rows the database no longer needs."""
        age = limits.short_age if self.short_history else limits.age
        gone: list[int] = []
        while self.history and len(gone) < _COMPACT_SLICE:
            event = self.history[0]
            if now - event.at <= age and len(self.history) <= limits.events and self.history_bytes <= limits.bytes:
                break
            self.history.popleft()
            self.floor = event.rv
            if event.previous is not None:
                self.history_bytes -= len(event.previous.data)
                gone.append(event.previous.rv)
            if event.change is Change.DELETED:
                gone.append(event.rv)
        return gone


@dataclass(slots=True)
class _Pending:
    epoch: int
    bucket: Bucket
    event: Event
    future: asyncio.Future[Record]


class Store:
    """Buckets, the revision counter and the way to the disk. Use from one event loop."""

    def __init__(
        self,
        path: Path,
        *,
        limits: HistoryLimits | None = None,
        max_bytes: int = 8 * 1024**3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.limits = limits or HistoryLimits()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._database = Database(path, committed=self._committed, failed=self._failed, max_bytes=max_bytes)
        self._buckets: dict[str, Bucket] = {}
        self._in_flight: deque[_Pending] = deque()
        self._to_publish: deque[_Pending] = deque()
        self._epoch = 0
        self._next = 1
        self._publishing = False
        self.revision = 0
        """The newest published revision."""
        self.listeners: list[Callable[[Bucket, Event], None]] = []
        self.refuse: str = ""
        """Why new objects are refused, such as a nearly full disk; empty when they are not."""
        self.broken: asyncio.Future[KvtuiError] = self._loop.create_future()
        """Done when the database can no longer be trusted: the process must end and start again."""
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def load(self) -> None:
        """Reads the file; before anything else."""
        contents = self._database.load()
        for name, floor in contents.floors.items():
            self.bucket(name).floor = floor
        for row in contents.rows:
            bucket = self.bucket(row.resource)
            record = Record(row.rv, row.namespace, row.name, row.value)
            previous = bucket.records.get(record.key)
            if row.rv > bucket.floor:
                bucket.remember(Event(row.change, record, previous, row.at))
            if row.change is Change.DELETED:
                bucket.records.pop(record.key, None)
            else:
                bucket.records[record.key] = record
        for bucket in self._buckets.values():
            bucket.keys = sorted(bucket.records)
        self.revision = max(contents.revision, 1)
        self._next = self.revision + 1
        self._database.start()

    def bucket(self, name: str) -> Bucket:
        found = self._buckets.get(name)
        if found is None:
            found = self._buckets[name] = Bucket(name)
        return found

    @property
    def buckets(self) -> list[Bucket]:
        return list(self._buckets.values())

    def submit(
        self, bucket: Bucket, key: Key, change: Change, obj: dict[str, Any], *, expected: Record | None, schema: int = 0
    ) -> asyncio.Future[Record]:
        """Numbers, encodes and queues a write; the future is done when it is durable and visible.

        `expected` is the record that the decision was made on (None: no such object). Raises Stale when another
        write came between, and Failure 507 when the disk is full.
        """
        latest = bucket.get_latest(key)
        if latest is not expected:
            raise Stale
        if self.refuse and change is not Change.DELETED:
            raise status.out_of_space(self.refuse)
        rv = self._next
        obj["metadata"]["resourceVersion"] = str(rv)
        data = encode(obj)
        self._next = rv + 1
        record = Record(rv, key[0], key[1], data, schema)
        now = self._clock()
        event = Event(change, record, latest, now)
        future: asyncio.Future[Record] = self._loop.create_future()
        self._in_flight.append(_Pending(self._epoch, bucket, event, future))
        bucket.latest[key] = event
        self._database.append(self._epoch, Row(rv, bucket.name, key[0], key[1], change, int(now), data))
        return future

    async def wait_revision(self, revision: int, timeout: float) -> bool:
        """Whether this revision was published in time (seconds)."""
        if self.revision >= revision:
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((revision, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        return True

    async def backup(self, target: Path) -> None:
        """A consistent copy of the database, while running. Raises OSError or sqlite3.Error."""
        future: asyncio.Future[None] = self._loop.create_future()

        def finish(error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._database.backup(target, lambda error: self._call(finish, error))
        await future

    def compact(self) -> int:
        """Forgets a slice of old history; returns how many rows went."""
        now = self._clock()
        revisions: list[int] = []
        floors: dict[str, int] = {}
        for bucket in self._buckets.values():
            before = bucket.floor
            revisions += bucket.trim(now, self.limits)
            if bucket.floor != before:
                floors[bucket.name] = bucket.floor
        for start in range(0, len(revisions), _COMPACT_SLICE):
            last = start + _COMPACT_SLICE >= len(revisions)
            self._database.compact(Compaction(revisions[start : start + _COMPACT_SLICE], floors if last else {}))
        if floors and not revisions:
            self._database.compact(Compaction([], floors))
        return len(revisions)

    def size(self) -> int:
        """Bytes on disk."""
        return self._database.size()

    async def close(self) -> None:
        await asyncio.to_thread(self._database.close)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _committed(self, rows: list[Row]) -> None:
        self._call(self._publish_first, len(rows))

    def _failed(self, epoch: int, error: KvtuiError) -> None:
        self._call(self._give_up, epoch, error)

    def _publish_first(self, count: int) -> None:
        for _ in range(count):
            self._to_publish.append(self._in_flight.popleft())
        if not self._publishing:
            self._publish()

    def _publish(self) -> None:
        self._publishing = False
        end = time.monotonic() + _PUBLISH_SLICE
        for published in itertools.count(1):
            if not self._to_publish:
                break
            pending = self._to_publish.popleft()
            bucket, event = pending.bucket, pending.event
            record = event.record
            bucket.apply(event)
            if bucket.latest.get(record.key) is event:
                del bucket.latest[record.key]
            self.revision = record.rv
            for listener in self.listeners:
                listener(bucket, event)
            for listener_of_bucket in bucket.listeners:
                listener_of_bucket(event)
            if not pending.future.done():
                pending.future.set_result(record)
            if self._to_publish and (published == _PUBLISH_AT_ONCE or time.monotonic() > end):
                self._publishing = True
                self._loop.call_soon(self._publish)
                break
        if self._waiters:
            self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiting = []
        for revision, future in self._waiters:
            if future.done():
                continue
            if revision <= self.revision:
                future.set_result(None)
            else:
                waiting.append((revision, future))
        self._waiters = waiting

    def _give_up(self, epoch: int, error: KvtuiError) -> None:
        self._epoch = max(self._epoch, epoch + 1)
        failed = list(self._in_flight)
        self._in_flight.clear()
        for pending in failed:
            pending.bucket.latest.pop(pending.event.record.key, None)
        # What is committed but not yet published is still the latest state of its name.
        for pending in self._to_publish:
            pending.bucket.latest[pending.event.record.key] = pending.event
        for pending in failed:
            if not pending.future.done():
                if isinstance(error, DatabaseFull):
                    pending.future.set_exception(status.out_of_space(str(error)))
                else:
                    pending.future.set_exception(status.internal("the outcome of the write is unknown"))
        if isinstance(error, DatabaseBroken) and not self.broken.done():
            self.broken.set_result(error)

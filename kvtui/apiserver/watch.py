"""Watches: committed changes fanned out to watchers, each with a bounded queue.

A publisher never waits for a watcher; one that does not keep up is ended and comes back with its last revision.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from kvtui.apiserver.database import Change
from kvtui.apiserver.record import Record
from kvtui.apiserver.selection import Selection
from kvtui.apiserver.store import Bucket, Event, Store

STALLED = 30.0
"""Seconds that one write to a client may take."""
_AT_ONCE = 20
"""Watchers that write in one turn of the event loop."""
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one watcher gets to see of one change."""

    type: EventType
    record: Record
    rv: int
    """Of the change; the record's own, unless the object left the selection."""
    event: Event | None
    """Where shared encodings are kept; None for synthetic events."""


class Watcher:
    """One open watch. Iterate with `take()` until `ended`."""

    def __init__(self, selection: Selection, limit: int, rouse: Callable[[Watcher], None]) -> None:
        """`rouse` is to call `deliver` soon."""
        self.selection = selection
        self._rouse = rouse
        self._due = False
        self._limit = limit
        self.push: Callable[[Sequence[Delivery]], bool] | None = None
        """Writes at once, if the reader waits and has taken everything so far; False when it is not so."""
        self.writing_since = 0.0
        """Time of the loop at which a write to the client began that is not done; 0 for none."""
        self.cut_off: Callable[[], None] = lambda: None
        """Ends the connection of a client that takes nothing."""
        self._queue: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self.overflowed = False
        """The reader did not keep up; nothing more is queued."""
        self.closed = False
        """The server ends this watch."""

    def offer(self, event: Event) -> None:
        """Called for every committed change, in order."""
        if self.overflowed or self.closed:
            return
        delivery = view(self.selection, event)
        if delivery is None:
            return
        if len(self._queue) >= self._limit:
            self.overflowed = True
            self._queue.clear()
        else:
            self._queue.append(delivery)
        if not self._due:
            self._due = True
            self._rouse(self)

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    def wake(self) -> None:
        """Makes the reader look, whether there is something or not."""
        self._wake.set()

    def deliver(self) -> None:
        """Brings what is queued to the reader, at once where that is possible."""
        self._due = False
        if self.push is not None and self._queue and not self.closed and self.push(self._queue):
            self._queue.clear()
        else:
            self._wake.set()

    def take(self) -> list[Delivery]:
        """Everything that is queued."""
        taken = list(self._queue)
        self._queue.clear()
        self._wake.clear()
        return taken

    async def wait(self) -> None:
        """Until there is something to take, or the watch ends."""
        await self._wake.wait()


def view(selection: Selection, event: Event) -> Delivery | None:
    """How a change looks through a selection: entering is ADDED, leaving is DELETED with the old content."""
    record, previous = event.record, event.previous
    if not selection.selective:
        if selection.namespace is not None and record.namespace != selection.namespace:
            return None
        return Delivery(_TYPES[event.change], record, event.rv, event)
    before = previous is not None and selection.matches(previous)
    if event.change is Change.DELETED:
        return Delivery("DELETED", record, event.rv, event) if before else None
    after = selection.matches(record)
    if after:
        return Delivery("MODIFIED" if before else "ADDED", record, event.rv, event)
    if before and previous is not None:
        return Delivery("DELETED", previous, event.rv, event)
    return None


_TYPES: dict[Change, EventType] = {
    Change.CREATED: "ADDED",
    Change.UPDATED: "MODIFIED",
    Change.DELETED: "DELETED",
}


class WatchHub:
    """All watchers, found by resource, namespace and name so that a change wakes only those it may concern."""

    def __init__(self, store: Store, *, queue_limit: int) -> None:
        self._queue_limit = queue_limit
        self._everything: dict[str, set[Watcher]] = {}
        self._by_namespace: dict[tuple[str, str], set[Watcher]] = {}
        self._by_name: dict[tuple[str, str], set[Watcher]] = {}
        self.count = 0
        self._due: deque[Watcher] = deque()
        store.listeners.append(self._publish)

    def _publish(self, bucket: Bucket, event: Event) -> None:
        name = bucket.name
        for watchers in (
            self._everything.get(name),
            self._by_namespace.get((name, event.record.namespace)) if event.record.namespace else None,
            self._by_name.get((name, event.record.name)),
        ):
            if watchers:
                for watcher in watchers:
                    watcher.offer(event)

    def open(self, bucket: Bucket, selection: Selection) -> Watcher:
        """A watcher that sees every change from now on; `close` it in the end."""
        watcher = Watcher(selection, self._queue_limit, self._rouse)
        self._place(bucket.name, selection).add(watcher)
        self.count += 1
        return watcher

    def _rouse(self, watcher: Watcher) -> None:
        if not self._due:
            asyncio.get_running_loop().call_soon(self._deliver_some)
        self._due.append(watcher)

    def _deliver_some(self) -> None:
        """Some in each turn of the event loop, so that a change with many watchers is no long block for others."""
        for _ in range(min(_AT_ONCE, len(self._due))):
            self._due.popleft().deliver()
        if self._due:
            asyncio.get_running_loop().call_soon(self._deliver_some)

    def close(self, bucket: Bucket, watcher: Watcher) -> None:
        self._place(bucket.name, watcher.selection).discard(watcher)
        self.count -= 1

    def sweep(self, now: float) -> int:
        """Cuts off clients that have taken nothing for long; returns how many. One timer for all of them is enough."""
        stalled = [
            watcher
            for index in (self._everything, self._by_namespace, self._by_name)
            for watchers in index.values()
            for watcher in watchers
            if watcher.writing_since and now - watcher.writing_since > STALLED
        ]
        for watcher in stalled:
            watcher.cut_off()
        return len(stalled)

    def end_all(self, bucket: str | None = None) -> None:
        """Ends every watch, or those of one bucket; their clients come back."""
        for index in (self._everything, self._by_namespace, self._by_name):
            for key, watchers in index.items():
                owner = key if isinstance(key, str) else key[0]
                if bucket is None or owner == bucket:
                    for watcher in list(watchers):
                        watcher.close()

    def _place(self, bucket: str, selection: Selection) -> set[Watcher]:
        if selection.name is not None:
            return self._by_name.setdefault((bucket, selection.name), set())
        if selection.namespace is not None:
            return self._by_namespace.setdefault((bucket, selection.namespace), set())
        return self._everything.setdefault(bucket, set())

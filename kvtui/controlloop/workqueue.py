"""Keys waiting to be reconciled: in order, without duplicates, never one key with two workers.

Source: k8s.io/client-go/util/workqueue.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kvtui.controlloop.backoff import Backoff
from kvtui.controlloop.exposition import Histogram

K = TypeVar("K", bound=Hashable)


SETTLING = 0.03
"""Seconds before the first look at a new object."""


DURATIONS = tuple(10.0**power for power in range(-8, 2))
"""Bounds of histograms, in seconds."""


@dataclass(slots=True)
class QueueCounts:
    """What has passed through a queue."""

    adds: int = 0
    retries: int = 0
    waited: Histogram = field(default_factory=lambda: Histogram("", "", DURATIONS))
    worked: Histogram = field(default_factory=lambda: Histogram("", "", DURATIONS))


class WorkQueue(Generic[K]):
    """A key added while it is being worked on comes again when that work is done."""

    def __init__(self, *, backoff_base: float = 0.2, backoff_max: float = 30.0) -> None:
        self.counts = QueueCounts()
        self._waiting: OrderedDict[K, float] = OrderedDict()
        self._working: dict[K, float] = {}
        """Keys with the moment from which they wait or are worked on."""
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._backoffs: dict[K, Backoff] = {}
        self._limits = (backoff_base, backoff_max)
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        self._cancel_timer(key)
        self._idle.clear()
        if key in self._working:
            self.counts.adds += key not in self._again
            self._again.add(key)
        elif key not in self._waiting:
            self.counts.adds += 1
            self._waiting[key] = time.monotonic()
            self._changed.set()

    def add_change(self, key: K, *, new: bool) -> None:
        """Adds the key of an object that changed. A new one is left alone for a moment, in which who made it may
        replace it under the version that was returned."""
        if new:
            self.add_after(key, SETTLING)
        else:
            self.add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Adds the key later; of several such calls the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def add_failed(self, key: K) -> float:
        """Adds the key after a pause that doubles with each failure; returns that pause in seconds."""
        self.counts.retries += 1
        pause = self._backoffs.setdefault(key, Backoff(*self._limits)).next()
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts with the shortest pause."""
        self._backoffs.pop(key, None)

    async def get(self) -> K:
        """The next key; call `done` when its work has ended, in whatever way."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key, since = self._waiting.popitem(last=False)
        now = time.monotonic()
        self.counts.waited.observe(now - since)
        self._working[key] = now
        return key

    def done(self, key: K) -> None:
        now = time.monotonic()
        self.counts.worked.observe(now - self._working.pop(key, now))
        if key in self._again:
            self._again.discard(key)
            self._waiting[key] = now
            self._changed.set()
        elif not self._waiting and not self._working:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Until nothing waits and nothing is being worked on (timers do not count)."""
        await self._idle.wait()

    def working(self) -> list[float]:
        """Seconds for which each key has been worked on."""
        now = time.monotonic()
        return [now - since for since in self._working.values()]

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _cancel_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

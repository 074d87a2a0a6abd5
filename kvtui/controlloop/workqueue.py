"""Keys waiting to be reconciled: in order, without duplicates, never one key with two workers.

Source: k8s.io/client-go/util/workqueue.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from kvtui.controlloop.backoff import Backoff

K = TypeVar("K", bound=Hashable)


SETTLING = 0.03
"""Seconds before the first look at a new object."""


class WorkQueue(Generic[K]):
    """A key added while it is being worked on comes again when that work is done."""

    def __init__(self, *, backoff_base: float = 0.2, backoff_max: float = 30.0) -> None:
        self._waiting: OrderedDict[K, None] = OrderedDict()
        self._working: set[K] = set()
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
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = None
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
        key, _ = self._waiting.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._waiting[key] = None
            self._changed.set()
        elif not self._waiting and not self._working:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Until nothing waits and nothing is being worked on (timers do not count)."""
        await self._idle.wait()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _cancel_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()

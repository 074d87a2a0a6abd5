"""Housekeeping: history is forgotten in small steps, old Events go, the disk is watched, loop blocks are measured."""

from __future__ import annotations

import asyncio
import shutil
import time
from datetime import timedelta

import structlog

from kvtui.api.times import from_time
from kvtui.apiserver import blocks, bootstrap, deletion, status
from kvtui.apiserver.endpoints.health import Metrics
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import DeleteOptions
from kvtui.apiserver.watch import WatchHub
from kvtui.settings import ApiServerSettings

log = structlog.get_logger()
_COMPACT_EVERY = 2.0
_DISK_EVERY = 5.0
_EVENTS_EVERY = 60.0
_STALLED_EVERY = 5.0
_EVENTS_SLICE = 100
_TICK = 0.1
_BLOCK = 0.02
"""Seconds; a loop that is blocked for longer is a defect."""


class Upkeep:
    """The server's own chores."""

    def __init__(self, objects: Objects, hub: WatchHub, metrics: Metrics, settings: ApiServerSettings) -> None:
        self._objects = objects
        self._hub = hub
        self._metrics = metrics
        self._settings = settings

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compact(), name="compaction")
            tasks.create_task(self._watch_disk(), name="disk space")
            tasks.create_task(self._expire_events(), name="event expiry")
            tasks.create_task(self._end_stalled(), name="stalled watches")
            tasks.create_task(self._measure_blocks(), name="loop blocks")

    async def _compact(self) -> None:
        while True:
            self._objects.store.compact()
            await asyncio.sleep(_COMPACT_EVERY)

    async def _watch_disk(self) -> None:
        store = self._objects.store
        while True:
            free = shutil.disk_usage(self._settings.directory).free
            if free < self._settings.min_free_disk:
                needed = self._settings.min_free_disk // 2**20
                reason = f"the disk is nearly full: {free // 2**20} MiB are left, {needed} MiB are needed"
            elif store.size() > self._settings.max_database * 9 // 10:
                reason = (
                    f"the database is nearly as large as it may become ({self._settings.max_database // 2**20} MiB)"
                )
            else:
                reason = ""
            if reason != store.refuse:
                log.warning("refusing new objects" if reason else "taking new objects again", reason=reason)
                store.refuse = reason
            await asyncio.sleep(_DISK_EVERY)

    async def _end_stalled(self) -> None:
        while True:
            await asyncio.sleep(_STALLED_EVERY)
            self._hub.sweep(asyncio.get_running_loop().time())

    async def _expire_events(self) -> None:
        info = self._objects.resources.find("", "v1", "events")
        assert info is not None
        bucket = self._objects.bucket(info)
        while True:
            limit = self._objects.clock() - timedelta(seconds=self._settings.event_ttl)
            for number, record in enumerate(bucket.snapshot()):
                if not number % _EVENTS_SLICE:
                    await asyncio.sleep(0)
                event = record.decode()
                seen = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
                try:
                    expired = from_time(seen) < limit
                except (ValueError, TypeError):
                    expired = True
                if not expired:
                    continue
                try:
                    await deletion.delete(
                        self._objects, info, record.namespace, record.name, DeleteOptions(), bootstrap.options()
                    )
                except status.Failure as failure:
                    log.info("event not removed", name=record.name, error=failure.message)
            await asyncio.sleep(_EVENTS_EVERY)

    async def _measure_blocks(self) -> None:
        turn = blocks.of_running_loop()
        if turn is not None:
            turn.forget()
        while True:
            if turn is None:
                late = await _lateness()
                self._metrics.longest_block = max(self._metrics.longest_block, late)
                continue
            await asyncio.sleep(_TICK)
            if turn.longest_work > max(self._metrics.longest_work, _BLOCK):
                log.warning("event loop was blocked", seconds=round(turn.longest_work, 4))
            self._metrics.longest_block, self._metrics.longest_work = turn.longest, turn.longest_work


async def _lateness() -> float:
    """Seconds by which a timer comes late."""
    before = time.monotonic()
    await asyncio.sleep(_TICK)
    return time.monotonic() - before - _TICK

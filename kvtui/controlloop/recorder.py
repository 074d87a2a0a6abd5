"""Events: one per transition, counted instead of repeated, written behind the caller's back.

A recorder never blocks and never fails its caller; what cannot be written is retried a few times and then dropped.

Source: k8s.io/client-go/tools/record.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import structlog

from kvtui.api.core.config import Event, EventSource
from kvtui.api.core.storage import ObjectReference
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.registry import object_reference
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import AlreadyExists, KvtuiError, NotFound, Permanent
from kvtui.settings import ControlLoopSettings

log = structlog.get_logger()
_TRIES = 5
_REMEMBERED = 4096


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class _Note:
    about: ObjectReference
    type: str
    reason: str
    message: str
    time: str


class EventRecorder:
    """Records for one component; `run` writes until cancelled."""

    def __init__(
        self,
        client: Client,
        component: str,
        clock: Callable[[], datetime],
        *,
        host: str = "",
        settings: ControlLoopSettings | None = None,
    ) -> None:
        self._client = client
        self._source = EventSource(component=component, host=host)
        self._clock = clock
        self._settings = settings or ControlLoopSettings()
        self._notes: asyncio.Queue[_Note] = asyncio.Queue()
        self._series: OrderedDict[tuple[str, ...], _Series] = OrderedDict()

    def normal(self, about: Resource | ObjectReference, reason: str, message: str) -> None:
        self._record(about, "Normal", reason, message)

    def warning(self, about: Resource | ObjectReference, reason: str, message: str) -> None:
        self._record(about, "Warning", reason, message)

    async def run(self) -> None:
        while True:
            note = await self._notes.get()
            try:
                await self._write(note)
            finally:
                self._notes.task_done()

    async def wait_written(self) -> None:
        """Until everything recorded so far is written or given up."""
        await self._notes.join()

    def _record(
        self, about: Resource | ObjectReference, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        reference = object_reference(about) if isinstance(about, Resource) else about
        if self._notes.qsize() >= self._settings.event_burst:
            self._notes.get_nowait()
            self._notes.task_done()
        self._notes.put_nowait(_Note(reference, type_, reason, message[:1024], to_time(self._clock())))

    async def _write(self, note: _Note) -> None:
        backoff = Backoff(self._settings.backoff_base, self._settings.backoff_max)
        for _ in range(_TRIES):
            try:
                await self._write_once(note)
                return
            except Permanent as error:
                log.debug("event dropped", reason=note.reason, error=str(error))
                return
            except KvtuiError as error:
                log.debug("event will be retried", reason=note.reason, error=str(error))
                await asyncio.sleep(backoff.next())

    async def _write_once(self, note: _Note) -> None:
        about = note.about
        identity = (about.uid, about.kind, about.namespace, about.name, note.type, note.reason, note.message)
        series = self._series.get(identity)
        namespace = about.namespace or "default"
        if series is not None:
            body = {"count": series.count + 1, "lastTimestamp": note.time}
            try:
                await self._client.patch(Event, ObjectKey(namespace, series.name), body)
                series.count += 1
                self._series.move_to_end(identity)
                return
            except NotFound:
                del self._series[identity]
        digest = hashlib.sha256("\0".join((*identity, note.time, str(self._clock().timestamp()))).encode()).hexdigest()
        event = Event(
            metadata=ObjectMeta(name=f"{about.name[:230]}.{digest[:16]}", namespace=namespace),
            involved_object=about,
            type=note.type,
            reason=note.reason,
            message=note.message,
            source=self._source,
            reporting_component=self._source.component,
            reporting_instance=self._source.host,
            count=1,
            first_timestamp=note.time,
            last_timestamp=note.time,
        )
        try:
            await self._client.create(event)
        except AlreadyExists:
            return
        self._series[identity] = _Series(event.metadata.name, 1, note.time)
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)

"""Watch streams.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes,
https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from kvtui.apiserver import options, reading, status
from kvtui.apiserver.endpoints import present
from kvtui.apiserver.endpoints.present import slowly
from kvtui.apiserver.endpoints.rest import selection_of
from kvtui.apiserver.http import BASE_HEADERS, Call, add_warnings
from kvtui.apiserver.negotiation import Form, Wanted
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.selection import Selection
from kvtui.apiserver.showing import shown_bytes
from kvtui.apiserver.watch import Delivery, Watcher, WatchHub, view

Object = dict[str, Any]
BOOKMARK_INTERVAL = 60.0
"""Seconds, about."""
BOOKMARK_BEFORE_END = 2.0
_DEFAULT_TIMEOUT = (1800, 3600)
_BATCH = 512 * 1024
_EARLY = 0.01
"""Seconds by which a timer may come too early."""
_FEW = 4
"""Changes whose lines are made in one go."""
_encode = msgspec.json.encode


class _Start:
    """Where a watch begins, from its query."""

    def __init__(self, call: Call, objects: Objects) -> None:
        query = call.query
        self.revision_text = query.get("resourceVersion", "")
        self.bookmarks = options.is_true(query, "allowWatchBookmarks")
        self.timeout = options.integer(query, "timeoutSeconds") or random.randint(*_DEFAULT_TIMEOUT)  # noqa: S311
        match = query.get("resourceVersionMatch", "")
        send = query.get("sendInitialEvents")
        self.initial_end = False
        if send is None or send == "":
            if match:
                raise _invalid(
                    "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless "
                    "sendInitialEvents is provided"
                )
            self.initial = self.revision_text in ("", "0")
            return
        if match != "NotOlderThan":
            raise _invalid(
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to "
                "NotOlderThan"
            )
        self.initial = options.is_true(query, "sendInitialEvents")
        self.initial_end = self.initial and self.bookmarks


def _invalid(message: str) -> status.Failure:
    return status.Failure(422, "Invalid", f'ListOptions.meta.k8s.io "" is invalid: {message}')


async def watch(call: Call, objects: Objects, info: ResourceInfo, hub: WatchHub) -> web.StreamResponse:
    """Streams changes until the time is over, the client leaves or does not keep up. Raises Failure before that."""
    wanted = call.wanted
    chosen = selection_of(call, info)
    if call.target.name and not chosen.name and call.target.segments[-1] == call.target.name:
        chosen = _named(chosen, call.target.name)
    start = _Start(call, objects)
    if start.initial_end and wanted.form is Form.TABLE:
        raise status.not_acceptable(("application/json",))
    store = objects.store
    if start.initial:
        await reading.wait_not_older(store, start.revision_text)
    revision = 0 if start.initial else _revision(start, store.revision)
    bucket = store.bucket(info.bucket)
    # Nothing is awaited between reading the state and opening the watcher: no change can fall between.
    records = bucket.snapshot(chosen.namespace) if start.initial else []
    missed = bucket.since(revision) if not start.initial and revision < store.revision else []
    opened_at = store.revision
    watcher = hub.open(bucket, chosen)
    try:
        backlog = [d async for d in slowly(records, lambda r: _initial(chosen, r)) if d is not None]
        backlog += [d async for d in slowly(missed, lambda e: view(chosen, e)) if d is not None]
        sink = await _open_sink(call, info)
        stream = _Stream(call, info, wanted, watcher, sink, lambda: store.revision)
        stream.skip_until = revision
        await stream.run(start, backlog, opened_at)
        return sink.response
    finally:
        hub.close(bucket, watcher)


def _initial(chosen: Selection, record: Record) -> Delivery | None:
    return Delivery("ADDED", record, record.rv, None) if chosen.matches(record) else None


def _named(chosen: Selection, name: str) -> Selection:
    from kvtui.apiserver import selectors

    requirement = selectors.FieldSelector(
        (*chosen.fields.requirements, *selectors.parse_fields(f"metadata.name={name}", "", "").requirements)
    )
    return Selection(chosen.namespace, chosen.labels, requirement)


def _revision(start: _Start, current: int) -> int:
    text = start.revision_text
    return current if text in ("", "0") else reading.parse_revision(text)


class _Sink:
    """Where lines go: a chunked answer, or a websocket for browsers."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def send(self, lines: list[bytes]) -> None:
        await self.response.write(b"".join(lines))

    def send_at_once(self, request: web.Request, line: bytes) -> bool:
        """Writes a chunk past the HTTP server, which saves half of the time; False while others are on their way."""
        transport = request.transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(line), line))
        return True

    async def end(self) -> None:
        await self.response.write_eof()

    async def gone(self, watcher: Watcher) -> None:
        """Closes the watcher when the client has left; a plain answer is cancelled by the HTTP server."""


class _WebSocketSink(_Sink):
    def __init__(self, response: web.WebSocketResponse) -> None:
        super().__init__(response)
        self._socket = response

    def send_at_once(self, request: web.Request, line: bytes) -> bool:
        return False

    async def send(self, lines: list[bytes]) -> None:
        for line in lines:
            await self._socket.send_str(line.decode().rstrip("\n"))

    async def end(self) -> None:
        await self._socket.close()

    async def gone(self, watcher: Watcher) -> None:
        async for message in self._socket:
            if message.type in (WSMsgType.ERROR, WSMsgType.CLOSE):
                break
        watcher.close()


async def _open_sink(call: Call, info: ResourceInfo) -> _Sink:
    warnings = [*call.warnings, *([info.warning] if info.warning else [])]
    if call.request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse(protocols=_protocols(call), heartbeat=30.0)
        await socket.prepare(call.request)
        return _WebSocketSink(socket)
    response = web.StreamResponse(headers={**BASE_HEADERS, "Content-Type": "application/json"})
    response.enable_chunked_encoding()
    add_warnings(response, warnings)
    await response.prepare(call.request)
    return _Sink(response)


def _cut_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _protocols(call: Call) -> tuple[str, ...]:
    """The real subprotocols; the one that carries a token is not answered."""
    offered = call.request.headers.get("Sec-WebSocket-Protocol", "")
    names = [p.strip() for p in offered.split(",") if p.strip()]
    return tuple(n for n in names if not n.startswith("base64url.bearer.authorization.k8s.io."))


class _Stream:
    def __init__(
        self,
        call: Call,
        info: ResourceInfo,
        wanted: Wanted,
        watcher: Watcher,
        sink: _Sink,
        revision: Callable[[], int],
    ) -> None:
        self._call = call
        self._info = info
        self._wanted = wanted
        self._watcher = watcher
        self._sink = sink
        self._revision = revision
        self._loop = asyncio.get_running_loop()
        self._first_row = True
        self._begun = False
        """The first line is out, and with it the headers."""
        watcher.cut_off = lambda: _cut_off(call.request)
        self.skip_until = 0
        """A watch from a revision in the future is silent until then."""
        include = call.query.get("includeObject", "")
        self._encoding = (wanted.form, wanted.table_version, include, info.api_version)

    async def run(self, start: _Start, backlog: list[Delivery], opened_at: int) -> None:
        deadline = self._loop.time() + start.timeout
        leaving = asyncio.create_task(self._sink.gone(self._watcher), name="watch client")
        try:
            await self._send(backlog)
            if start.initial_end:
                await self._bookmark(opened_at, initial_end=True)
            await self._follow(start, deadline)
            if not self._watcher.overflowed:
                await self._sink.end()
        except (ConnectionError, TimeoutError):
            return
        finally:
            leaving.cancel()

    async def _follow(self, start: _Start, deadline: float) -> None:
        bookmark_at = self._next_bookmark(deadline) if start.bookmarks else deadline
        timer = self._loop.call_at(bookmark_at, self._watcher.wake)
        try:
            while True:
                await self._wait()
                deliveries = self._watcher.take()
                # Read together with the queue: every change up to here is in `deliveries` or does not concern us.
                revision = self._revision()
                if self._watcher.overflowed:
                    return  # the client comes back with the last revision it saw
                if deliveries:
                    await self._send(deliveries)
                if self._watcher.closed:
                    return
                now = self._loop.time() + _EARLY
                if now < bookmark_at:
                    continue
                if start.bookmarks and now < deadline:
                    await self._bookmark(revision)
                    bookmark_at = min(self._next_bookmark(deadline), deadline)
                    timer.cancel()
                    timer = self._loop.call_at(bookmark_at, self._watcher.wake)
                else:
                    return
        finally:
            timer.cancel()

    async def _wait(self) -> None:
        """Until there is something that was not pushed, or something else to do."""
        self._watcher.push = self._push if self._begun and self._wanted.form is not Form.TABLE else None
        try:
            await self._watcher.wait()
        finally:
            self._watcher.push = None

    def _push(self, deliveries: Sequence[Delivery]) -> bool:
        if len(deliveries) > _FEW:
            return False
        lines = [self._line(d) for d in deliveries if d.rv > self.skip_until]
        return not lines or self._sink.send_at_once(self._call.request, b"".join(lines))

    def _next_bookmark(self, deadline: float) -> float:
        now = self._loop.time()
        regular = now + BOOKMARK_INTERVAL * random.uniform(0.8, 1.0)  # noqa: S311
        last = deadline - BOOKMARK_BEFORE_END
        return last if now < last < regular else regular

    async def _send(self, deliveries: list[Delivery]) -> None:
        if len(deliveries) <= _FEW:
            if few := [self._line(d) for d in deliveries if d.rv > self.skip_until]:
                await self._write(few)
            return
        lines: list[bytes] = []
        size = 0
        async for line in slowly([d for d in deliveries if d.rv > self.skip_until], self._line):
            lines.append(line)
            size += len(line)
            if size > _BATCH:
                await self._write(lines)
                lines, size = [], 0
        if lines:
            await self._write(lines)

    async def _write(self, lines: list[bytes]) -> None:
        self._watcher.writing_since = self._loop.time()
        await self._sink.send(lines)
        self._watcher.writing_since = 0.0
        self._begun = True

    def _line(self, delivery: Delivery) -> bytes:
        table = self._wanted.form is Form.TABLE
        shared = delivery.event.lines if delivery.event is not None else None
        key = (delivery.type, self._encoding, table and self._first_row)
        if shared is not None and (line := shared.get(key)) is not None:
            self._first_row = False
            return line
        line = b'{"type":"' + delivery.type.encode() + b'","object":' + self._object(delivery) + b"}\n"
        self._first_row = False
        if shared is not None:
            shared[key] = line
        return line

    def _object(self, delivery: Delivery) -> bytes:
        record = delivery.record
        if delivery.rv != record.rv:
            record = _at_revision(record, delivery.rv)
        match self._wanted.form:
            case Form.FULL:
                return shown_bytes(self._info, record)
            case Form.TABLE:
                return present.table(
                    self._info,
                    [record],
                    self._wanted,
                    self._call.query,
                    {"resourceVersion": str(record.rv)},
                    columns=self._first_row,
                )
            case _:
                return record.partial()

    async def _bookmark(self, revision: int, *, initial_end: bool = False) -> None:
        meta: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Object = {"kind": self._info.kind, "apiVersion": self._info.api_version, "metadata": meta}
        if self._wanted.form is Form.TABLE:
            obj = {
                "kind": "Table",
                "apiVersion": self._wanted.table_version,
                "metadata": meta,
                "columnDefinitions": None,
                "rows": [],
            }
        elif self._wanted.form is not Form.FULL:
            obj.update(kind="PartialObjectMetadata", apiVersion="meta.k8s.io/v1")
        await self._write([_encode({"type": "BOOKMARK", "object": obj}) + b"\n"])


def _at_revision(record: Record, revision: int) -> Record:
    """The old content of an object that left the selection, with the revision of the change."""
    from kvtui.apiserver.record import encode

    obj = record.decode()
    obj["metadata"]["resourceVersion"] = str(revision)
    return Record(revision, record.namespace, record.name, encode(obj))

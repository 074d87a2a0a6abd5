"""An upload: the worker waits on a Unix socket for one body that it can publish.

The agent has opened the socket, and passes on what the upload proxy lets through. One body at a time is taken; a body
that breaks off, or is no image that fits, leaves nothing behind, and the next one is waited for. A body that is whole
is answered when it is published; an asynchronous one when it has been received and looked at, and if the rest fails
the worker ends in failure and is started anew.

Source: CDI pkg/uploadserver/uploadserver.go (paths, codes); CDI facts 5.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from enum import Enum
from pathlib import Path

from aiohttp import BodyPartReader, ClientPayloadError, web

from kvtui.api.worker import Outcome, Progress, Work
from kvtui.importer import pipeline, qemu_img
from kvtui.importer.errors import ImportFailed, TooSmall, simplified
from kvtui.importer.formats import Format
from kvtui.importer.target import MIB, Target

Report = Callable[[Progress], None]
SYNC, ASYNC, FORM, FORM_ASYNC, ARCHIVE = "upload", "upload-async", "upload-form", "upload-form-async", "upload-archive"
VERBS = (SYNC, ASYNC, FORM, FORM_ASYNC, ARCHIVE)
FIELD = "file"
"""Of a form."""
PATIENCE = 1.0
"""Seconds for which another body waits: a client that tries again may be quicker than the end of its first try."""
IDLE = 120.0
"""Seconds without a byte after which a body is given up, so that another one may come."""
LINGER = 5.0
"""Seconds for the last answer to reach its client."""


class _State(Enum):
    WAITING = "waiting"
    BUSY = "busy"
    DONE = "done"


class _Broken(ImportFailed):
    """The client went away in the middle of its body."""


async def run(work: Work, report: Report) -> Outcome:
    """Returns when an upload has been published, or when one that was accepted turned out bad."""
    job = work.job
    target = Target(Path(work.target), uid=job.uid, size=job.size, overhead=job.overhead, block=job.block)
    if target.finished():
        return Outcome(ok=True, reason="Completed", virtual_size=target.virtual_size())
    target.clean()
    receiver = Receiver(work, target, report)
    runner = web.AppRunner(
        receiver.application(), handle_signals=False, access_log=None, shutdown_timeout=LINGER, read_bufsize=MIB
    )
    await runner.setup()
    try:
        await web.SockSite(runner, socket.socket(fileno=work.listen)).start()
        report(Progress(stage="Listen"))
        return await receiver.outcome
    finally:
        await runner.cleanup()
        target.clean()


class Receiver:
    """Takes bodies until one is good; `outcome` then says so."""

    def __init__(self, work: Work, target: Target, report: Report) -> None:
        self._job = work.job
        self._target = target
        self._report = report
        self._state = _State.WAITING
        self._free = asyncio.Condition()
        self._rest: asyncio.Task[None] | None = None
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{verb}", self._take)
        return app

    async def _take(self, request: web.Request) -> web.StreamResponse:
        verb = request.match_info["verb"]
        if verb not in VERBS:
            return web.Response(status=404)
        try:
            async with asyncio.timeout(PATIENCE), self._free:
                await self._free.wait_for(lambda: self._state is not _State.BUSY)
                if self._state is _State.DONE:
                    return web.Response(status=409, text="the upload is already done")
                self._state = _State.BUSY
        except TimeoutError:
            return web.Response(status=503, text="another upload is in progress")
        try:
            return await self._taken(request, verb)
        except TooSmall as error:
            available = f"effective image size is larger than the reported available storage: {error}"
            return web.Response(status=400, text=f"Saving stream failed: {available}")
        except (ImportFailed, OSError) as error:
            return web.Response(status=500, text=f"Saving stream failed: {error}")
        finally:
            if self._state is _State.BUSY:
                await asyncio.to_thread(self._target.clean)
                self._state = _State.WAITING
            async with self._free:
                self._free.notify_all()

    async def _taken(self, request: web.Request, verb: str) -> web.StreamResponse:
        body, length = await _body(request, verb)
        if verb == ARCHIVE or self._job.archive:
            await pipeline.receive_archive(body, length, self._target, self._report)
            return await self._answered(request, 0)
        format_ = await pipeline.receive(body, length, self._target, self._report)
        found = await pipeline.inspect(format_, self._target) if format_ is not Format.RAW else None
        if verb in (ASYNC, FORM_ASYNC):
            self._state = _State.DONE
            self._rest = asyncio.create_task(self._later(format_, found), name="rest of an upload")
            return web.Response()
        return await self._answered(request, await self._published(format_, found))

    async def _published(self, format_: Format, found: qemu_img.Info | None) -> int:
        if format_ is not Format.RAW:
            await pipeline.convert(format_, self._target, self._report, found)
        return await pipeline.finish(self._target, self._report, preallocate=bool(self._job.preallocate))

    async def _answered(self, request: web.Request, size: int) -> web.StreamResponse:
        """The disk is there, whether or not the client still hears it."""
        self._state = _State.DONE
        response = web.Response()
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write_eof()
        self.outcome.set_result(Outcome(ok=True, reason="Completed", virtual_size=size))
        return response

    async def _later(self, format_: Format, found: qemu_img.Info | None) -> None:
        """What is left of an upload whose client is gone."""
        try:
            size = await self._published(format_, found)
            outcome = Outcome(ok=True, reason="Completed", virtual_size=size)
        except (ImportFailed, OSError) as error:
            outcome = Outcome(message=simplified(f"Unable to process data: {error}"), reason="Error")
        self.outcome.set_result(outcome)


async def _body(request: web.Request, verb: str) -> tuple[AsyncIterator[bytes], int]:
    """The bytes of the image and their number (0 when unknown). Raises ImportFailed."""
    if verb not in (FORM, FORM_ASYNC):
        return _whole(request.content.iter_any()), request.content_length or 0
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == FIELD:
                return _whole(_part(part)), 0
    except (ValueError, AssertionError) as error:
        raise ImportFailed(f"the form cannot be read: {error}") from error
    raise ImportFailed(f"the form has no field {FIELD!r}")


async def _part(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(MIB):
        yield bytes(chunk)


async def _whole(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body that ends too early must not pass for an image."""
    source = aiter(chunks)
    try:
        while True:
            async with asyncio.timeout(IDLE):
                chunk = await anext(source, None)
            if chunk is None:
                return
            yield chunk
    except TimeoutError as error:
        raise _Broken(f"nothing came for {IDLE:.0f} seconds") from error
    except (ClientPayloadError, ConnectionError, ValueError, asyncio.IncompleteReadError, web.HTTPException) as error:
        raise _Broken("unexpected EOF") from error

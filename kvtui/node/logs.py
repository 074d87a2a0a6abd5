"""Container logs as a kubelet serves them: a launcher's is its serial console, a worker's what it wrote.

Only whole lines are sent. Offsets of the console make following exact through rotation and migration.

Source: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from kvtui.console.inotify import Watcher
from kvtui.errors import Invalid, NotFound
from kvtui.node.console import Console

_CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a log."""

    follow: bool = False
    tail: int | None = None
    limit: int | None = None
    """Bytes."""

    @classmethod
    def of(cls, request: web.Request) -> Wanted:
        query = request.query

        def number(name: str) -> int | None:
            text = query.get(name, "")
            if not text:
                return None
            if not (text.isascii() and text.isdigit()):
                raise Invalid(f"{name}={text!r} is not a number")
            return int(text)

        return cls(query.get("follow") in ("true", "1"), number("tailLines"), number("limitBytes"))


async def console_bytes(console: Console, wanted: Wanted) -> AsyncIterator[bytes]:
    """What the guest printed, from the oldest byte that is kept."""
    end = console.log.end
    offset = console.log.start
    if wanted.tail is not None:
        offset = await asyncio.to_thread(_tail_offset, console, wanted.tail)
    while offset < end:
        first, data = await asyncio.to_thread(console.log.read, offset, min(_CHUNK, end - offset))
        if not data:
            break
        offset = first + len(data)
        yield data
    if wanted.follow:
        async for _, data in console.follow(offset):
            yield data


def _tail_offset(console: Console, lines: int) -> int:
    """Offset from which on there are so many lines."""
    end, position, left = console.log.end, console.log.end, lines + 1
    _, last = console.log.read(max(end - 1, 0), 1)
    if last != b"\n":
        left -= 1
    while position > console.log.start and left > 0:
        begin = max(console.log.start, position - _CHUNK)
        _, data = console.log.read(begin, position - begin)
        cut = len(data)
        while left > 0 and (found := data.rfind(b"\n", 0, cut)) >= 0:
            left, cut = left - 1, found
            if left == 0:
                return begin + found + 1
        position = begin
    return console.log.start


async def file_bytes(path: Path, wanted: Wanted, watcher: Watcher) -> AsyncIterator[bytes]:
    """A worker's words; following ends when the file goes."""
    changed = asyncio.Event()
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError as error:
        raise NotFound("the worker has written nothing yet") from error
    try:
        stop = watcher.watch(path.parent, changed.set) if wanted.follow else None
        try:
            data = await asyncio.to_thread(file.read)
            if wanted.tail is not None:
                data = b"".join(data.splitlines(keepends=True)[-wanted.tail :] if wanted.tail else [])
            yield data
            while wanted.follow and (path.parent / "pid").exists():
                await changed.wait()
                changed.clear()
                yield await asyncio.to_thread(file.read)
            yield await asyncio.to_thread(file.read)
        finally:
            if stop is not None:
                stop()
    finally:
        file.close()


async def send(request: web.Request, source: AsyncIterator[bytes], wanted: Wanted) -> web.StreamResponse:
    """The log as a chunked answer; carriage returns are left out, a half line waits for its end."""
    answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await answer.prepare(request)
    rest, sent = b"", 0
    async for data in source:
        whole, newline, rest = (rest + data.replace(b"\r", b"")).rpartition(b"\n")
        piece = whole + newline
        if wanted.limit is not None:
            piece = piece[: wanted.limit - sent]
        if piece:
            await answer.write(piece)
            sent += len(piece)
        if wanted.limit is not None and sent >= wanted.limit:
            break
        if len(rest) > _CHUNK:
            await answer.write(rest)
            sent, rest = sent + len(rest), b""
    if rest and not wanted.follow and (wanted.limit is None or sent < wanted.limit):
        await answer.write(rest if wanted.limit is None else rest[: wanted.limit - sent])
    await answer.write_eof()
    return answer

"""Serves the guest image over HTTP, so that a first VM needs no download from anywhere else.

The image is built when it is first asked for. It is public by nature: the distribution's kernel and busybox.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import structlog
from aiohttp import web

from kvtui.errors import KvtuiError

PATH = "/guest.qcow2"
log = structlog.get_logger()


@contextlib.asynccontextmanager
async def guest_image_server(host: str, ports: tuple[int, ...], build: Callable[[], Path]) -> AsyncIterator[str]:
    """Yields the URL of the image. The first of `ports` that is free is used; 0 means any. `build` may block.

    Raises OSError when none is free.
    """
    building = asyncio.Lock()

    async def answer(request: web.Request) -> web.StreamResponse:
        async with building:
            try:
                image = await asyncio.to_thread(build)
            except KvtuiError as error:
                log.warning("guest image cannot be built", error=str(error))
                raise web.HTTPServiceUnavailable(text=f"{error}\n{error.hint}\n") from error
        return web.FileResponse(image)

    app = web.Application()
    app.router.add_get(PATH, answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        yield f"http://{host}:{await _listen(runner, host, ports)}{PATH}"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, ports: tuple[int, ...]) -> int:
    for port in ports:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError:
            if port == ports[-1]:
                raise
            continue
        address = runner.addresses[-1]
        return int(address[1])
    raise OSError("no port was given")

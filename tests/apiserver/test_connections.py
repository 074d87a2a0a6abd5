"""Connections that only wait."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

from kvtui.apiserver.connections import FIRST_REQUEST, Connections
from tests.apiserver.api import CONFIG_MAPS, Api
from tests.fakes.cluster import running_server


async def test_a_client_that_never_finishes_its_headers_is_cut_off() -> None:
    from aiohttp import web

    now = 0.0
    connections = Connections(10, clock=lambda: now)
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    server = await asyncio.get_running_loop().create_server(connections.factory(runner.server), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        await writer.drain()
        while not connections.count():
            await asyncio.sleep(0)
        assert connections.sweep() == 0
        now = FIRST_REQUEST + 1
        async with asyncio.timeout(10):
            while not connections.sweep():
                await asyncio.sleep(0)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
    finally:
        writer.close()
        server.close()
        await runner.cleanup()


async def test_one_connection_too_many_is_closed(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False, max_connections=1) as server, server.session() as session:
        assert (await Api(session).get(CONFIG_MAPS)).code == 200
        host, port = server.url.removeprefix("https://").split(":")
        closed = False
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(host, int(port), ssl=server.tls())
                writer.write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
                closed = await reader.read() == b""
                writer.close()
        except (ConnectionError, ssl.SSLError):
            closed = True
        assert closed

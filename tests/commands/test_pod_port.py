"""A Pod's port on this machine: the messages of the portforward subresource, both ways."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import WSMsgType, web

from kvtui.client.kubeconfig import Endpoint
from kvtui.client.rest import Client
from kvtui.commands.pod_port import PROTOCOL, forwarded

PATH = "/api/v1/namespaces/default/pods/{pod}/portforward"
PATIENCE = 10.0


async def echo(request: web.Request) -> web.WebSocketResponse:
    """A node that sends back, in capitals, what the port is sent; the Pod `closed` listens nowhere."""
    socket = web.WebSocketResponse(protocols=(PROTOCOL,))
    await socket.prepare(request)
    port = struct.pack("<H", int(request.query["ports"]))
    for channel in (b"\x00", b"\x01"):
        await socket.send_bytes(channel + port)
    if request.match_info["pod"] == "closed":
        await socket.send_bytes(b"\x01connection refused")
    async for message in socket:
        if message.type is WSMsgType.BINARY and message.data[:1] == b"\x00":
            await socket.send_bytes(b"\x00" + message.data[1:].upper())
    return socket


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get(PATH, echo)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with Client(Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
        yield client
    await runner.cleanup()


async def test_bytes_go_both_ways_and_connections_are_apart(client: Client) -> None:
    async with asyncio.timeout(PATIENCE), forwarded(client, ("default", "open"), 8443, 0) as port:
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for (_, writer), word in zip(ends, (b"one", b"two"), strict=True):
            writer.write(word)
        assert [await reader.readexactly(3) for reader, _ in ends] == [b"ONE", b"TWO"]
        for _, writer in ends:
            writer.close()


async def test_a_port_that_the_pod_has_not_is_told(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    async with asyncio.timeout(PATIENCE), forwarded(client, ("default", "closed"), 8443, 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
    assert "connection refused" in capsys.readouterr().err

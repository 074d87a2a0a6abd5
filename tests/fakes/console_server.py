"""A console endpoint as the API has it: a log with offsets, any number of viewers, breaks on command.

async with console_server() as server:
    server.print(b"login: ")      # the guest prints
    server.typed                  # what viewers sent
    await server.drop()           # every connection breaks
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

_REPLAYED = 64 * 1024
_PATH = "/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}/console"


@dataclass(slots=True)
class ConsoleServer:
    """The log of one guest and who looks at it."""

    url: str = ""
    log: bytearray = field(default_factory=bytearray)
    start: int = 0
    """Offset of the first byte that is still kept."""
    typed: bytearray = field(default_factory=bytearray)
    offsets: bool = True
    """Off: as upstream, which has none."""
    status: int = 0
    """Refuse with this code instead of upgrading."""
    requests: list[str] = field(default_factory=list)
    """The `from` of every connection, empty where there was none."""
    _sockets: list[web.WebSocketResponse] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def viewers(self) -> int:
        return len(self._sockets)

    def print(self, data: bytes) -> None:
        """The guest prints."""
        self.log += data
        self._news.set()
        self._news = asyncio.Event()

    def forget(self, count: int) -> None:
        """The oldest bytes are dropped."""
        del self.log[:count]
        self.start += count

    async def drop(self, code: int = 1011) -> None:
        """Every connection breaks."""
        for socket in list(self._sockets):
            await socket.close(code=code)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.query.get("from", ""))
        if self.status:
            body = {"kind": "Status", "status": "Failure", "code": self.status, "message": "refused by the test"}
            return web.json_response(body, status=self.status)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=400, text="not a websocket request")
        end = self.start + len(self.log)
        asked = request.query.get("from")
        position = int(asked) if asked else max(self.start, end - _REPLAYED)
        position = min(max(position, self.start), end)
        socket = web.WebSocketResponse(protocols=("plain.kubevirt.io",))
        if self.offsets:
            socket.headers["Kvtui-Console-Offset"] = str(position)
        await socket.prepare(request)
        self._sockets.append(socket)
        sending = asyncio.create_task(self._send(socket, position), name="console send")
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    self.typed += message.data
        finally:
            self._sockets.remove(socket)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await sending
        return socket

    async def _send(self, socket: web.WebSocketResponse, position: int) -> None:
        while True:
            news = self._news
            data = bytes(self.log[position - self.start :])
            if data:
                position += len(data)
                await socket.send_bytes(data)
            else:
                await news.wait()


@contextlib.asynccontextmanager
async def console_server() -> AsyncIterator[ConsoleServer]:
    """On a loopback socket until the block ends."""
    server = ConsoleServer()
    app = web.Application()
    app.router.add_get(_PATH, server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await server.drop()
        await runner.cleanup()

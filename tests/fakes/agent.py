"""A node's agent as virt-api sees it: the HTTPS endpoint with one guest whose console, screen and ports answer.

The console is a log with offsets, as the real one keeps it: `say` appends, `from=` resumes, `leave` ends all viewers
with a close code. What else is asked is noted in `asked`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from kvtui.apiserver.pki import Pki, issue_serving

PROTOCOL = "plain.kubevirt.io"
OFFSET_HEADER = "Kvtui-Console-Offset"
MOVED, RESTART, DISPLACED = 4001, 1012, 1001
PREFIX = "/v1/namespaces/{namespace}/virtualmachineinstances/{name}"


@dataclass
class FakeAgent:
    """One agent. `console` is everything the guest has printed; `first` is the offset of its first byte."""

    port: int = 0
    console: bytearray = field(default_factory=bytearray)
    first: int = 0
    typed: bytearray = field(default_factory=bytearray)
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    refuse: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Verbs that are answered with a code and a message."""
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    gone: bool = False
    """Nobody is let in any more."""
    flood: int = 0
    """Bytes that a forwarded port sends without being asked."""
    sent: int = 0
    """Bytes of the flood that went out so far."""
    uploads: list[tuple[str, bytes]] = field(default_factory=list)
    """Path behind /uploads/ and body."""
    takes_uploads: bool = True

    async def say(self, text: bytes) -> None:
        async with self.changed:
            self.console += text
            self.changed.notify_all()

    async def leave(self, code: int) -> None:
        """Ends all streams."""
        self.gone = True
        for socket in list(self.sockets):
            await socket.close(code=code)

    async def wait_for(self, condition: Any) -> None:
        """Until `condition()` holds; it is looked at whenever something changes."""
        async with self.changed, asyncio.timeout(10):
            await self.changed.wait_for(condition)

    async def _note(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"{PREFIX}/console", self._console)
        app.router.add_get(f"{PREFIX}/vnc", self._echo)
        app.router.add_get(f"{PREFIX}/usbredir", self._echo)
        app.router.add_get(f"{PREFIX}/portforward/{{port}}/{{protocol}}", self._echo)
        app.router.add_route("*", PREFIX + "/{verb:.+}", self._verb)
        app.router.add_get("/v1/namespaces/{namespace}/uploads/{pod}", self._door)
        app.router.add_post("/v1/namespaces/{namespace}/uploads/{rest:.+}", self._upload)
        return app

    def _refusal(self, verb: str) -> web.Response | None:
        if self.gone:
            return _status(503, "the agent stops")
        if verb in self.refuse:
            return _status(*self.refuse[verb])
        return None

    async def _door(self, request: web.Request) -> web.StreamResponse:
        return web.Response() if self.takes_uploads else _status(503, "no upload is waited for")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal("upload")
        if refusal is not None:
            return refusal
        self.uploads.append((request.match_info["rest"], b"".join([c async for c in request.content.iter_any()])))
        await self._note()
        return web.Response()

    async def _verb(self, request: web.Request) -> web.StreamResponse:
        verb = request.match_info["verb"]
        body = await request.json() if request.can_read_body else {}
        self.asked.append((request.method, verb, body))
        refusal = self._refusal(verb)
        if refusal is not None:
            return refusal
        if verb == "vnc/screenshot":
            return web.Response(body=b"\x89PNG", content_type="image/png")
        if request.method == "GET":
            return web.json_response({"hostname": "guest"})
        return web.Response(status=202)

    async def _console(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal("console")
        if refusal is not None:
            return refusal
        wanted = request.query.get("from", "")
        offset = int(wanted) if wanted else self.first
        self.asked.append((request.method, "console", {"from": wanted}))
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        socket.headers[OFFSET_HEADER] = str(offset)
        await socket.prepare(request)
        self.sockets.append(socket)
        printing = asyncio.create_task(self._print(socket, offset))
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    self.typed += message.data
                    await self._note()
        finally:
            printing.cancel()
            self.sockets.remove(socket)
        return socket

    async def _print(self, socket: web.WebSocketResponse, offset: int) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                async with self.changed:
                    while self.first + len(self.console) <= offset:
                        await self.changed.wait()
                    data = bytes(self.console[offset - self.first :])
                await socket.send_bytes(data)
                offset += len(data)

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        verb = request.path.split("/virtualmachineinstances/")[1].split("/", 1)[1]
        refusal = self._refusal(verb)
        if refusal is not None:
            return refusal
        self.asked.append((request.method, verb, dict(request.query)))
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        self.sockets.append(socket)
        pouring = asyncio.create_task(self._pour(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
        finally:
            pouring.cancel()
            self.sockets.remove(socket)
        return socket

    async def _pour(self, socket: web.WebSocketResponse) -> None:
        chunk = b"x" * 10240
        with contextlib.suppress(ConnectionError):
            while self.sent < self.flood:
                await socket.send_bytes(chunk)
                self.sent += len(chunk)


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "status": "Failure", "message": message, "code": code}, status=code)


@contextlib.asynccontextmanager
async def running_agent(pki: Pki, name: str = "node01") -> AsyncIterator[FakeAgent]:
    """Serves on a free port of the loopback address, with a certificate of this authority."""
    pair = pki.pair(f"agent_{name}")
    issue_serving(pki, f"system:node:{name}", ("127.0.0.1",), pair, ("system:nodes",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.ca.cert))
    context.load_cert_chain(pair.cert, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    agent = FakeAgent()
    runner = web.AppRunner(agent.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    agent.port = int(runner.addresses[0][1])
    try:
        yield agent
    finally:
        for socket in list(agent.sockets):
            await socket.close()
        await runner.cleanup()

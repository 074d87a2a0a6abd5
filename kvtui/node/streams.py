"""Websockets to guests: serial console, VNC, USB redirection and ports.

All speak plain.kubevirt.io: binary messages are bytes both ways, other messages are ignored. What has to exist is
looked for before the upgrade, so a refusal is an ordinary answer. Any number of viewers share a console; VNC and USB
redirection keep KubeVirt's rules, where the newest VNC client replaces the one before.

Source: https://datatracker.ietf.org/doc/html/rfc6455
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from kvtui.errors import Conflict, Invalid, NotFound, Transient
from kvtui.node.console import Closed, Console, Consoles, NoSerial
from kvtui.node.network.sandbox import Networks
from kvtui.node.state import Record, Records, Stage

log = structlog.get_logger()
PROTOCOL = "plain.kubevirt.io"
OFFSET_HEADER = "Kvtui-Console-Offset"
MOVED = 4001
"""Close code: the guest is on another node now."""
BUFFER = 10240
HEARTBEAT = 30.0
USB_SLOTS = 4
JOIN_TIMEOUT = 15.0
"""Seconds that a viewer waits for the history of a guest that has just moved here."""

Find = Callable[[web.Request], Record]


class Streams:
    """Handlers of one node."""

    def __init__(self, *, records: Records, consoles: Consoles, networks: Networks, find: Find, replay: int) -> None:
        self._records = records
        self._consoles = consoles
        self._networks = networks
        self._find = find
        self._replay = replay
        self._vnc: dict[str, web.WebSocketResponse] = {}
        self._usb: dict[str, set[int]] = {}

    def routes(self, prefix: str) -> list[web.RouteDef]:
        return [
            web.get(f"{prefix}/console", self.console),
            web.get(f"{prefix}/vnc", self.vnc),
            web.get(f"{prefix}/usbredir", self.usbredir),
            web.get(f"{prefix}/portforward/{{port}}", self.portforward),
            web.get(f"{prefix}/portforward/{{port}}/{{protocol}}", self.portforward),
        ]

    # Serial console

    async def console(self, request: web.Request) -> web.StreamResponse:
        """`from`: offset of the first byte wanted; without it the last bytes printed come first."""
        record = self._running(request)
        directory = self._records.directory(record.uid)
        console = self._consoles.open(record.uid, directory, incoming=record.stage is Stage.INCOMING)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await console.wait_joined()
        except TimeoutError as error:
            raise Transient("the console's history has not arrived yet") from error
        wanted = request.query.get("from", "")
        if wanted and not (wanted.isascii() and wanted.isdigit()):
            raise Invalid(f"from={wanted!r} is not an offset")
        offset = int(wanted) if wanted else console.log.end - self._replay
        offset = min(max(offset, console.log.start), console.log.end)
        answer = _websocket()
        answer.headers[OFFSET_HEADER] = str(offset)
        await answer.prepare(request)
        async with console.viewer():
            await _both(self._print(console, offset, answer), self._type(console, answer))
        await _close(answer, console.closed)
        return answer

    async def _print(self, console: Console, offset: int, answer: web.WebSocketResponse) -> None:
        async for _, data in console.follow(offset):
            await answer.send_bytes(data)

    async def _type(self, console: Console, answer: web.WebSocketResponse) -> None:
        async for message in answer:
            if message.type is WSMsgType.BINARY:
                try:
                    await console.write(message.data)
                except NoSerial as error:
                    log.info("console input was lost", error=str(error))

    # Screen and USB

    async def vnc(self, request: web.Request) -> web.StreamResponse:
        record = self._running(request)
        active = self._vnc.get(record.uid)
        if active is not None and request.query.get("preserveSession") == "true":
            raise Transient("Active VNC connection. Request denied.")
        reader, writer = await self._dial(record, "vnc", "No graphics devices are present.")
        if active is not None:
            await active.close(code=WSCloseCode.GOING_AWAY)
        answer = _websocket()
        await answer.prepare(request)
        self._vnc[record.uid] = answer
        try:
            await _pipe(answer, reader, writer)
        finally:
            if self._vnc.get(record.uid) is answer:
                del self._vnc[record.uid]
        return answer

    async def usbredir(self, request: web.Request) -> web.StreamResponse:
        record = self._running(request)
        used = self._usb.setdefault(record.uid, set())
        slot = next((n for n in range(USB_SLOTS) if n not in used), None)
        if slot is None:
            raise Transient("All USB redirection slots are in use.")
        used.add(slot)
        try:
            reader, writer = await self._dial(record, f"usb{slot}", "Not configured with USB Redirection")
            answer = _websocket()
            await answer.prepare(request)
            await _pipe(answer, reader, writer)
            return answer
        finally:
            used.discard(slot)

    async def _dial(self, record: Record, name: str, missing: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        path = self._records.directory(record.uid).qemu / "s" / name
        try:
            async with asyncio.timeout(5):
                return await asyncio.open_unix_connection(str(path))
        except FileNotFoundError as error:
            raise Invalid(missing) from error
        except (OSError, TimeoutError) as error:
            raise Transient(f"the guest's {name} socket does not answer: {error}") from error

    # Ports

    async def portforward(self, request: web.Request) -> web.StreamResponse:
        record = self._running(request)
        port, protocol = request.match_info["port"], request.match_info.get("protocol", "tcp")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536) or protocol not in ("tcp", "udp"):
            raise Invalid(f"{port}/{protocol} is not a port")
        made = await self._networks.open_connection(record.pod_uid, int(port), udp=protocol == "udp")
        answer = _websocket()
        if protocol == "udp":
            await answer.prepare(request)
            await _datagrams(answer, made)
            return answer
        reader, writer = await asyncio.open_connection(sock=made)
        await answer.prepare(request)
        await _pipe(answer, reader, writer)
        return answer

    def _running(self, request: web.Request) -> Record:
        record = self._find(request)
        if record.stage not in (Stage.STARTED, Stage.INCOMING):
            raise NotFound("the guest does not run here")
        if record.moved:
            raise Conflict("the guest has moved to another node")
        return record


def _websocket() -> web.WebSocketResponse:
    return web.WebSocketResponse(protocols=(PROTOCOL,), heartbeat=HEARTBEAT, max_msg_size=2**20, compress=False)


async def _close(answer: web.WebSocketResponse, why: Closed | None) -> None:
    code, message = {
        Closed.MOVED: (MOVED, b"moved"),
        Closed.RESTART: (WSCloseCode.SERVICE_RESTART, b"agent restarts"),
    }.get(why or Closed.ENDED, (WSCloseCode.OK, b""))
    await answer.close(code=code, message=message)


async def _both(*works: Coroutine[Any, Any, None]) -> None:
    """Runs the works at once; when one ends, the others end too. A peer that went away is an ordinary end."""
    tasks = [asyncio.create_task(w) for w in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, OSError):
                await task


async def _pipe(answer: web.WebSocketResponse, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def out() -> None:
        while data := await reader.read(BUFFER):
            await answer.send_bytes(data)

    async def into() -> None:
        async for message in answer:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data)
                await writer.drain()

    try:
        await _both(out(), into())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await answer.close()


async def _datagrams(answer: web.WebSocketResponse, made: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    async def out() -> None:
        while True:
            await answer.send_bytes(await loop.sock_recv(made, 65536))

    async def into() -> None:
        async for message in answer:
            if message.type is WSMsgType.BINARY:
                await loop.sock_sendall(made, message.data)

    try:
        await _both(out(), into())
    finally:
        made.close()
        await answer.close()

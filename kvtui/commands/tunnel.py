"""A local connection joined with a websocket of the API: sockets, pipes and datagrams.

Binary messages hold plain bytes. A websocket cannot be closed in one direction only, so after the local side has said
its last word the answer is waited for as long as something comes.

Source: control plane facts 6.5 (subprotocol plain.kubevirt.io).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Protocol, cast

import aiohttp

from kvtui.errors import KvtuiError, Permanent, Unreachable

CHUNK = 64 * 2**10
LINGER = 5.0
"""Seconds of silence after the local end's last byte that end a connection."""
IDLE_DATAGRAMS = 120.0
"""Seconds after which a silent UDP peer is forgotten."""
QUEUE = 256
"""Datagrams that may wait for their connection; more are lost, as datagrams are."""


class Local(Protocol):
    """The near end."""

    async def read(self) -> bytes:
        """Some bytes; none at the end."""

    async def write(self, data: bytes) -> None: ...


class Far(Protocol):
    """The far end: a websocket, or what looks like one."""

    @property
    def close_code(self) -> int | None: ...

    async def send_bytes(self, data: bytes) -> None: ...

    def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]: ...


class Stream:
    """A socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Pipes:
    """Two descriptors, such as standard input and output. Descriptors keep their mode: others share them."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._plain = stat.S_ISREG(os.fstat(source).st_mode)

    async def read(self) -> bytes:
        if not self._plain:  # a file is always readable, and epoll refuses it
            await _readable(self._source)
        return os.read(self._source, CHUNK)

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(_write_all, self._sink, data)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def join(local: Local, socket: Far) -> None:
    """Until one end has closed. A near end that broke is an ordinary end. Raises Unreachable when the far one did."""
    heard = asyncio.get_running_loop().time()

    async def send() -> None:
        while data := await local.read():
            await socket.send_bytes(data)

    async def receive() -> None:
        nonlocal heard
        async for message in socket:
            heard = asyncio.get_running_loop().time()
            if message.type is aiohttp.WSMsgType.BINARY:
                await local.write(message.data)

    sending = asyncio.create_task(send(), name="tunnel out")
    receiving = asyncio.create_task(receive(), name="tunnel in")
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
        near_first = sending.done()
        if sending.done() and sending.exception() is None:
            heard = asyncio.get_running_loop().time()
            while not receiving.done() and (left := heard + LINGER - asyncio.get_running_loop().time()) > 0:
                await asyncio.wait((receiving,), timeout=left)
    finally:
        for task in (sending, receiving):
            task.cancel()
        for task in (sending, receiving):
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, aiohttp.ClientError, OSError):
                await task
    if socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE and not near_first:
        raise Unreachable("the connection to the VM broke off")


async def listen(
    address: str, port: int, serve: Callable[[Stream], Coroutine[Any, Any, None]], tasks: asyncio.TaskGroup
) -> tuple[asyncio.Server, int]:
    """Accepts connections, each served by a task of the group; tells the port. Raises Permanent."""

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.create_task(serve(Stream(reader, writer)), name="forwarded connection")

    try:
        server = await asyncio.start_server(accepted, address, port)
    except OSError as error:
        raise Permanent(f"cannot listen on {address}:{port}: {error.strerror or error}") from error
    return server, int(server.sockets[0].getsockname()[1])


class DatagramPeer:
    """One sender of datagrams, as a near end."""

    def __init__(self, reply: Callable[[bytes], None]) -> None:
        self._reply = reply
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)

    async def read(self) -> bytes:
        try:
            async with asyncio.timeout(IDLE_DATAGRAMS):
                return await self.waiting.get()
        except TimeoutError:
            return b""

    async def write(self, data: bytes) -> None:
        self._reply(data)


class Datagrams(asyncio.DatagramProtocol):
    """A local UDP port; every sender gets a connection of its own."""

    def __init__(self, serve: Callable[[DatagramPeer], Coroutine[Any, Any, None]], tasks: asyncio.TaskGroup) -> None:
        self._serve, self._tasks = serve, tasks
        self._peers: dict[Any, DatagramPeer] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        peer = self._peers.get(addr)
        if peer is None:
            transport = self._transport
            assert transport is not None
            peer = self._peers[addr] = DatagramPeer(lambda reply: transport.sendto(reply, addr))
            self._tasks.create_task(self._served(addr, peer), name="forwarded datagrams")
        if data and not peer.waiting.full():
            peer.waiting.put_nowait(data)

    async def _served(self, addr: Any, peer: DatagramPeer) -> None:
        try:
            await self._serve(peer)
        finally:
            self._peers.pop(addr, None)


async def listen_datagrams(
    address: str, port: int, serve: Callable[[DatagramPeer], Coroutine[Any, Any, None]], tasks: asyncio.TaskGroup
) -> tuple[asyncio.DatagramTransport, int]:
    """Receives datagrams; tells the port. Raises Permanent."""
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(serve, tasks), local_addr=(address, port))
    except OSError as error:
        raise Permanent(f"cannot listen on {address}:{port}/udp: {error.strerror or error}") from error
    return transport, int(transport.get_extra_info("sockname")[1])


def refused(error: KvtuiError, name: str, what: str) -> KvtuiError:
    """The error with the VM's name in front, of the same class."""
    error.args = (f"can't access {what} {name}: {error}",)
    return error

"""Pipes between a unix socket on one node and a unix socket on another, under mutual TLS.

Each channel has a number: 0 is libvirt's own control connection, 49152 QEMU's stream, 49153 the copy of disks.

Source: https://libvirt.org/migration.html
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from kvtui.errors import Transient
from kvtui.node.access import NODES, groups
from kvtui.node.migration.pipe import Pipe

log = structlog.get_logger()
CONTROL, STREAM, DISKS = 0, 49152, 49153
CONNECT_TIMEOUT = 10.0
PIPES = 64
"""At once, of one migration: libvirt's connection, QEMU's stream, and one for each disk."""

Join = Callable[[socket.socket], Awaitable[Pipe]]


class Proxies:
    """Listeners of one migration on one side. `close` ends them and all their connections."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._paths: list[Path] = []
        self._threads = ThreadPoolExecutor(PIPES, thread_name_prefix="migration pipe")

    async def listen_tls(self, address: str, context: ssl.SSLContext, targets: Mapping[int, Path]) -> dict[str, int]:
        """On the target: a TCP port for each channel, piped to a socket here; channel by port."""
        ports: dict[str, int] = {}
        for channel, path in targets.items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, 0), family=family)
            ports[str(listener.getsockname()[1])] = channel
            self._own(self._serve(listener, _from_peer(context, path)), listener)
        return ports

    async def listen_unix(
        self, sockets: Mapping[int, Path], address: str, ports: Mapping[str, int], context: ssl.SSLContext, owner: int
    ) -> None:
        """On the source: a socket for each channel, owned by QEMU's user, piped to the target's port."""
        by_channel = {channel: int(port) for port, channel in ports.items()}
        for channel, path in sockets.items():
            if channel not in by_channel:
                raise Transient(f"the target offers no channel {channel}")
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(path))
            self._paths.append(path)
            if os.geteuid() == 0:
                os.chown(path, owner, -1)
            path.chmod(0o700)
            listener.listen()
            self._own(self._serve(listener, _to_peer(context, address, by_channel[channel])), listener)

    async def close(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._threads.shutdown()
        self._paths.clear()

    def _own(self, work: Coroutine[None, None, None], end: socket.socket) -> None:
        """Closes the socket with the task, also when that is cancelled before it has begun."""
        task = asyncio.create_task(work, name="migration pipe")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: end.close())

    async def _serve(self, listener: socket.socket, join: Join) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            accepted, _ = await loop.sock_accept(listener)
            self._own(self._carry(accepted, join), accepted)

    async def _carry(self, accepted: socket.socket, join: Join) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                pipe = await join(accepted)
        except (OSError, TimeoutError) as error:
            log.warning("migration channel cannot be joined", error=str(error) or "no answer")
            return
        run = asyncio.get_running_loop().run_in_executor(self._threads, pipe.run)
        try:
            await asyncio.shield(run)
        except asyncio.CancelledError:
            pipe.cut()
            await run
            raise


def _from_peer(context: ssl.SSLContext, path: Path) -> Join:
    async def join(accepted: socket.socket) -> Pipe:
        tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        with _closed_if_it_fails(tls):
            await _handshake(tls)
            if NODES not in groups(tls.getpeercert()):
                raise PermissionError(f"refused: {tls.getpeername()[0]} is no node")
            return Pipe(await _connect(socket.AF_UNIX, str(path)), tls)

    return join


def _to_peer(context: ssl.SSLContext, address: str, port: int) -> Join:
    async def join(accepted: socket.socket) -> Pipe:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        far = await _connect(family, (address, port))
        tls = context.wrap_socket(far, server_hostname=address, do_handshake_on_connect=False)
        with _closed_if_it_fails(tls):
            await _handshake(tls)
            return Pipe(accepted, tls)

    return join


async def _connect(family: int, address: str | tuple[str, int]) -> socket.socket:
    made = socket.socket(family)
    with _closed_if_it_fails(made):
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    return made


async def _handshake(tls: ssl.SSLSocket) -> None:
    """On a socket that does not block. ssl.SSLError when there is no trust."""
    while True:
        try:
            tls.do_handshake()
            return
        except ssl.SSLWantReadError:
            await _ready(tls, reads=True)
        except ssl.SSLWantWriteError:
            await _ready(tls, reads=False)


async def _ready(end: socket.socket, *, reads: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_reader, loop.remove_reader) if reads else (loop.add_writer, loop.remove_writer)
    add(end, _settle, ready)
    try:
        await ready
    finally:
        remove(end)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


@contextlib.contextmanager
def _closed_if_it_fails(end: socket.socket) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(end)
        yield
        stack.pop_all()

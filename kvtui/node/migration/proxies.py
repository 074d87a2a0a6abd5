"""Pipes between a unix socket on one node and a unix socket on another, under mutual TLS.

Each channel has a number: 0 is libvirt's own control connection, 49152 QEMU's stream, 49153 the copy of disks.

Source: https://libvirt.org/migration.html
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from kvtui.errors import Transient
from kvtui.node.access import NODES, groups

log = structlog.get_logger()
CONTROL, STREAM, DISKS = 0, 49152, 49153
CHUNK = 256 * 1024
CONNECT_TIMEOUT = 10.0

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Proxies:
    """Listeners of one migration on one side. `close` ends them and all their connections."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self._connections: set[asyncio.Task[None]] = set()

    async def listen_tls(self, address: str, context: ssl.SSLContext, targets: Mapping[int, Path]) -> dict[str, int]:
        """On the target: a TCP port for each channel, piped to a socket here; channel by port."""
        ports: dict[str, int] = {}
        for channel, path in targets.items():
            dial = _unix_dialer(path)
            server = await asyncio.start_server(
                lambda reader, writer, dial=dial: self._accept(reader, writer, dial, peers=True),  # type: ignore[misc]
                address,
                0,
                ssl=context,
                limit=CHUNK,
            )
            self._servers.append(server)
            ports[str(server.sockets[0].getsockname()[1])] = channel
        return ports

    async def listen_unix(
        self, sockets: Mapping[int, Path], address: str, ports: Mapping[str, int], context: ssl.SSLContext, owner: int
    ) -> None:
        """On the source: a socket for each channel, owned by QEMU's user, piped to the target's port."""
        by_channel = {channel: int(port) for port, channel in ports.items()}
        for channel, path in sockets.items():
            if channel not in by_channel:
                raise Transient(f"the target offers no channel {channel}")
            dial = _tls_dialer(address, by_channel[channel], context)
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(
                lambda reader, writer, dial=dial: self._accept(reader, writer, dial, peers=False),  # type: ignore[misc]
                str(path),
                limit=CHUNK,
            )
            if os.geteuid() == 0:
                os.chown(path, owner, -1)
            path.chmod(0o700)
            self._servers.append(server)
            self._paths.append(path)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dial: Dial, *, peers: bool) -> None:
        if peers and NODES not in groups(writer.get_extra_info("peercert")):
            log.warning("migration connection refused", peer=str(writer.get_extra_info("peername")))
            writer.close()
            return
        task = asyncio.create_task(_join(reader, writer, dial), name="migration pipe")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._servers.clear()
        self._paths.clear()


def _unix_dialer(path: Path) -> Dial:
    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(path), limit=CHUNK)

    return dial


def _tls_dialer(address: str, port: int, context: ssl.SSLContext) -> Dial:
    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(address, port, ssl=context, server_hostname=address, limit=CHUNK)

    return dial


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dial: Dial) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            far_reader, far_writer = await dial()
    except (OSError, TimeoutError, ssl.SSLError) as error:
        log.warning("migration channel cannot be joined", error=str(error) or "no answer")
        writer.close()
        return
    try:
        # Each direction ends by itself: the stream of a migration is closed on one side while the other still answers.
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await end.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()
    else:
        # TLS has no half-close: when one side has said all, the other direction ends too.
        writer.close()

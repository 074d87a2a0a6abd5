"""Accepting connections: a few TLS handshakes at a time, because each is a millisecond or two of arithmetic.

asyncio's own servers accept whatever waits, and a hundred clients that come together would be one long block for all
others. A handshake holds its place for a moment only, so that slow clients cannot keep others out.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import structlog

from kvtui.apiserver.connections import HANDSHAKE

log = structlog.get_logger()
BACKLOG = 1024
"""Connections that may wait to be accepted."""
_PLACES = 6
_HELD = 0.1
"""Seconds after which a handshake no longer keeps others waiting."""
_PAUSE = 1.0
"""Seconds without accepting when that fails, such as for want of file descriptors."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of a host; 0 takes a free port. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            opened = socket.socket(family, kind, protocol)
            sockets.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(address)
            opened.listen(BACKLOG)
            opened.setblocking(False)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


class Listener:
    """Serves one listening socket until cancelled."""

    def __init__(
        self, listening: socket.socket, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext
    ) -> None:
        self._socket = listening
        self._factory = factory
        self._context = context
        self._places = asyncio.Semaphore(_PLACES)

    async def run(self) -> None:
        """Closes the socket in the end."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._places.acquire()
                    try:
                        connection, _ = await loop.sock_accept(self._socket)
                    except ConnectionAbortedError:
                        self._places.release()
                        continue
                    except OSError as error:
                        self._places.release()
                        log.error("no connections can be accepted", error=str(error))
                        await asyncio.sleep(_PAUSE)
                        continue
                    tasks.create_task(self._shake_hands(connection), name="handshake")
        finally:
            self._socket.close()

    async def _shake_hands(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_HELD, self._places.release)
        try:
            # The protocol lives on by itself when this is done.
            await loop.connect_accepted_socket(
                self._factory, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )
        except (OSError, TimeoutError):
            pass  # clients that break off are no event
        except Exception:
            # One client must never take the server down.
            log.exception("unexpected failure of a handshake")
        finally:
            if timer.when() > loop.time():
                timer.cancel()
                self._places.release()

"""The serial socket of a guest, for input only: what comes out of it is thrown away by a process of its own.

QEMU writes a guest's output byte by byte. The kernel queues a few hundred of such writes; when the reader is later
than that, QEMU tries the byte again and has by then already put it into the log, where it stands twice. So the reader
is not the agent but a `cat` that the scheduler never lets wait, and the socket is only connected around input: without
a client QEMU writes each byte once.

Seen with QEMU 7.2 under load: of 20,000 lines several had a doubled byte with a client and none without.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import sys
import termios
from pathlib import Path
from typing import Self

_SEND_SECONDS = 5
_CONNECT_SECONDS = 5.0


class SerialPort:
    """A connection to the socket. `close` it; it also ends when the guest does."""

    def __init__(self, connection: socket.socket, drain: asyncio.subprocess.Process) -> None:
        self._connection = connection
        self._drain = drain

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Raises OSError, TimeoutError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_CONNECT_SECONDS)
            await asyncio.to_thread(connection.connect, str(path))
            # Blocking, because the reader shares the open file; a guest that takes no input must not hold a thread.
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
            drain = await asyncio.create_subprocess_exec(
                *_never_late(),
                *("setpriv", "--pdeathsig", "KILL", "--", "cat"),
                stdin=connection.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            connection.close()
            raise
        return cls(connection, drain)

    @property
    def ended(self) -> bool:
        """The other side has closed."""
        return self._drain.returncode is not None

    @property
    def unread(self) -> int:
        """Bytes of input that QEMU has not taken yet."""
        answer = fcntl.ioctl(self._connection, termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    async def write(self, data: bytes) -> None:
        """Raises OSError, also when the guest takes nothing for some seconds."""
        await asyncio.to_thread(self._connection.sendall, data)

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        with contextlib.suppress(ProcessLookupError):
            self._drain.kill()
        await self._drain.wait()


def _never_late() -> tuple[str, ...]:
    """Runs a command ahead of all ordinary ones, where this user may; what it reads is as much as a guest can print."""
    return ("chrt", "--fifo", "1") if os.geteuid() == 0 else ()

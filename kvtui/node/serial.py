"""The serial socket of a guest, for input: what comes out of it is thrown away by a process of its own.

QEMU writes a guest's output byte by byte. The kernel queues a few hundred of such writes; when the reader is later
than that, QEMU tries the byte again and has by then already put it into the log, where it stands twice. So the reader
is not the agent but a `cat` that the scheduler never lets wait, and the socket is only connected around input: without
a client QEMU writes each byte once.

Seen with QEMU 7.2 under load: of 20,000 lines several had a doubled byte with a client and none without.

Where libvirt's log daemon writes the log and has died, nobody writes it any more and no new daemon ever will; then the
reader puts the output there instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import struct
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Self

LOST = b"\r\n[kvtui: the daemon that wrote this log has died; what the guest said since then is lost up to here]\r\n"
QEMU_PIDS = Path("/run/libvirt/qemu")
"""Where the system's libvirt notes the processes of its domains."""
_SEND_SECONDS = 5
_CONNECT_SECONDS = 5.0


class SerialPort:
    """A connection to the socket. `close` it; it also ends when the guest does."""

    def __init__(self, connection: socket.socket, drain: asyncio.subprocess.Process) -> None:
        self._connection = connection
        self._drain = drain

    @classmethod
    async def open(cls, path: Path, into: Path | None = None) -> Self:
        """`into`: a log to which the output is appended, instead of being thrown away. Raises OSError, TimeoutError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_CONNECT_SECONDS)
            await asyncio.to_thread(connection.connect, str(path))
            # Blocking, because the reader shares the open file; a guest that takes no input must not hold a thread.
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
            with _appending(into) as out:
                drain = await asyncio.create_subprocess_exec(
                    *_never_late(),
                    *("setpriv", "--pdeathsig", "KILL", "--", "cat"),
                    stdin=connection.fileno(),
                    stdout=out,
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


@contextlib.contextmanager
def _appending(log: Path | None) -> Iterator[int]:
    """Where output goes."""
    if log is None:
        yield asyncio.subprocess.DEVNULL
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, LOST)
        yield descriptor
    finally:
        os.close(descriptor)


def is_unheard(domain: str, pids: Path = QEMU_PIDS) -> bool:
    """Whether this domain's QEMU writes its logs to a daemon that has died: its pipes have nobody at their other end.

    False for one that writes files itself, and where that cannot be known. Source: pipe(7), poll(2).
    """
    try:
        pid = int((pids / f"{domain}.pid").read_text())
        descriptor = os.open(f"/proc/{pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        poller = select.poll()
        poller.register(descriptor, 0)
        return any(event & select.POLLERR for _, event in poller.poll(0))
    finally:
        os.close(descriptor)


def _never_late() -> tuple[str, ...]:
    """Runs a command ahead of all ordinary ones, where this user may; what it reads is as much as a guest can print."""
    return ("chrt", "--fifo", "1") if os.geteuid() == 0 else ()

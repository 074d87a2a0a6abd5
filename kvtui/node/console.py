"""Serial consoles of the node's guests: any number of viewers follow the log, input goes through the serial socket.

A viewer reads from the log at its own pace, so one that stops reading holds up nobody and costs no memory; when what
it would read next is gone, it goes on with the oldest byte there is. The socket is only connected while there are
viewers that type, and its output is read and thrown away at once (see `kvtui.node.serial`): a client that does not
read stops the guest.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from kvtui.console.inotify import Watcher
from kvtui.console.log import ConsoleLog
from kvtui.errors import Transient
from kvtui.node.layout import VmDirectory
from kvtui.node.serial import SerialPort, is_unheard

log = structlog.get_logger()
CHUNK = 10240
"""Bytes per message to a viewer."""
IDLE = 0.05
"""Seconds after the last input for which the serial socket stays connected."""


class Closed(enum.Enum):
    """Why a console ended."""

    MOVED = "moved"
    ENDED = "ended"
    RESTART = "restart"


class NoSerial(Transient):
    """The guest's serial port cannot be reached."""


class Console:
    """The console of one guest."""

    def __init__(self, directory: VmDirectory, socket: Path, watcher: Watcher, *, limit: int, incoming: bool) -> None:
        self._socket = socket
        self._path = directory.console / "serial0.log"
        self.log = ConsoleLog(self._path, limit=limit, incoming=incoming)
        self.closed: Closed | None = None
        self._changed = asyncio.Event()
        self._stop_watch = watcher.watch(directory.console, self._look)
        self._viewers = 0
        self._port: SerialPort | None = None
        self._resting: asyncio.Task[None] | None = None
        self._last_input = 0.0
        self._connecting = asyncio.Lock()
        self.domain = ""
        """Name of the running domain, once that is known."""
        self._kept = False
        """The log is written by us."""

    def _look(self) -> None:
        if self.closed is None:
            self.log.refresh()
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def join(self, start: int, data: bytes) -> None:
        """The source's history arrived: viewers of this node may read."""
        if not self.log.joined:
            self.log.join(start, data)
            self._wake()

    async def wait_joined(self) -> None:
        while not self.log.joined and self.closed is None:
            await self._changed.wait()

    async def follow(self, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and bytes, for ever; ends when the console is closed and everything was handed over."""
        await self.wait_joined()
        while True:
            changed = self._changed
            first, data = await asyncio.to_thread(self.log.read, offset, CHUNK)
            if data:
                offset = first + len(data)
                yield first, data
            elif self.closed is not None:
                return
            else:
                await changed.wait()

    @contextlib.asynccontextmanager
    async def viewer(self) -> AsyncIterator[None]:
        self._viewers += 1
        try:
            await self.keep_log()
            yield
        finally:
            self._viewers -= 1
            if not self._viewers:
                await self._end_input()

    async def write(self, data: bytes) -> None:
        """Input to the guest. Raises NoSerial."""
        async with self._connecting:
            try:
                if self._port is not None and self._port.ended:
                    await self._disconnect()
                if self._port is None:
                    self._port = await self._connect()
            except (OSError, TimeoutError) as error:
                raise NoSerial(f"the serial port cannot be reached: {error or 'no answer'}") from error
            try:
                await self._port.write(data)
            except OSError as error:
                await self._disconnect()
                raise NoSerial(f"the serial port does not take input: {error}") from error
            self._last_input = asyncio.get_running_loop().time()
            if self._resting is None or self._resting.done():
                self._resting = asyncio.create_task(self._rest(), name=f"rest of {self._socket}")

    async def keep_log(self) -> None:
        """Writes the log from now on where nobody else does any more. May be called again."""
        if not self.domain or not is_unheard(self.domain):
            return
        async with self._connecting:
            if self._kept and self._port is not None and not self._port.ended:
                return
            self._kept = True
            await self._disconnect()
            try:
                self._port = await self._connect()
            except (OSError, TimeoutError) as error:
                log.warning("a console's log stays silent", domain=self.domain, error=str(error))
            else:
                log.warning("a console's log is written by the agent, its daemon having died", domain=self.domain)

    async def _connect(self) -> SerialPort:
        return await SerialPort.open(self._socket, self._path if self._kept else None)

    async def _rest(self) -> None:
        """Disconnects shortly after the last input, once QEMU has taken all of it; that nobody announces."""
        loop = asyncio.get_running_loop()
        while self._port is not None:
            async with self._connecting:
                if self._kept:
                    return
                left = max(self._last_input + IDLE - loop.time(), IDLE if self._unread else 0.0)
                if left <= 0:
                    await self._disconnect()
                    return
            await asyncio.sleep(left)

    @property
    def _unread(self) -> int:
        return self._port.unread if self._port is not None and not self._port.ended else 0

    async def _disconnect(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await port.close()

    async def _end_input(self) -> None:
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.cancel()
            await asyncio.gather(resting, return_exceptions=True)
        if not self._kept or self.closed is not None:
            await self._disconnect()

    async def close(self, why: Closed) -> None:
        """No more bytes will come: viewers get what is left and then their end."""
        if self.closed is not None:
            return
        self.log.refresh()
        self.closed = why
        self._stop_watch()
        self._wake()
        await self._end_input()


class Consoles:
    """The consoles of a node, by UID of the VMI."""

    def __init__(self, watcher: Watcher, *, limit: int) -> None:
        self._watcher = watcher
        self._limit = limit
        self._consoles: dict[str, Console] = {}

    def get(self, uid: str) -> Console | None:
        return self._consoles.get(uid)

    def open(self, uid: str, directory: VmDirectory, *, incoming: bool = False) -> Console:
        """The console of a guest; made when it is not there. `incoming`: its history is on another node."""
        console = self._consoles.get(uid)
        if console is None:
            socket = directory.qemu / "s" / "serial0"
            console = Console(directory, socket, self._watcher, limit=self._limit, incoming=incoming)
            self._consoles[uid] = console
        return console

    async def close(self, uid: str, why: Closed) -> None:
        console = self._consoles.pop(uid, None)
        if console is not None:
            await console.close(why)

    async def close_all(self) -> None:
        for uid in list(self._consoles):
            await self.close(uid, Closed.RESTART)

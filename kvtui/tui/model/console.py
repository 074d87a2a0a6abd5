"""Console sessions: one upstream connection per VM that survives whatever happens to the VM, and its terminal.

The stream has logical offsets (header Kvtui-Console-Offset, query `from`): after a break a session asks for the bytes
that it has not seen, so nothing is lost or doubled. Servers without offsets (upstream KubeVirt) are simply continued.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from datetime import datetime

import aiohttp

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client, handshake_header
from kvtui.console.terminal_pyte import PyteTerminal
from kvtui.errors import Forbidden, Invalid, KvtuiError
from kvtui.tui.model.cluster import Cluster
from kvtui.tui.model.requests import subresource_path

OFFSET_HEADER = "Kvtui-Console-Offset"
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between tries."""
_HELD = 256
"""Bytes typed while the VM moves that are sent afterwards."""
_REPLAY = 1.0
"""Seconds after connecting during which queries of the guest are not answered: they are from the past."""
_PACE = (200, 0.05)
"""Bytes and seconds: a paste goes out at 4 kB/s, since serial ports have small buffers."""


class ConsoleState(enum.StrEnum):
    """Where a session stands."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    """For the VM to run."""
    LOST = "lost"
    TAKEN = "taken"
    DENIED = "denied"
    CLOSED = "closed"


class ConsoleSession:
    """One VM's console. `run` until closed."""

    def __init__(self, client: Client, cluster: Cluster, key: ObjectKey, clock: Callable[[], datetime]) -> None:
        self.key = key
        self.terminal = PyteTerminal()
        self.state = ConsoleState.CONNECTING
        self.reason = ""
        self.since = clock()
        self.opened = self.since
        self.locked = False
        """Watch only: nothing is sent."""
        self.received = 0
        self.unread = 0
        """Line ends since somebody looked."""
        self.not_sent = False
        """Something was typed that went nowhere."""
        self.retry_at = 0.0
        self.paste_left = 0
        self._client = client
        self._cluster = cluster
        self._clock = clock
        self._offset: int | None = None
        self._outgoing: asyncio.Queue[bytes] = asyncio.Queue()
        self._held = bytearray()
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._listeners: list[Callable[[set[int]], None]] = []
        self._connected_at = 0.0
        self._paste_stop = asyncio.Event()
        self._node = self._vmi_node()

    # What viewers do

    def subscribe(self, listener: Callable[[set[int]], None]) -> Callable[[], None]:
        """The listener gets the screen rows that changed; an empty set when only the state did."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def send(self, data: bytes) -> None:
        """Typed bytes. What cannot be sent now is held while the VM moves, else dropped and said so."""
        if not data or self.locked:
            return
        if self.state is ConsoleState.LIVE:
            self._outgoing.put_nowait(data)
        elif self.moving and len(self._held) + len(data) <= _HELD:
            self._held += data
        else:
            self.not_sent = True
            self._tell(set())

    async def paste(self, data: bytes) -> None:
        """Sends at the pace of a serial port. `stop_paste` ends it."""
        self._paste_stop.clear()
        size, pause = _PACE
        for start in range(0, len(data), size):
            self.paste_left = len(data) - start
            self.send(data[start : start + size])
            self._tell(set())
            try:
                async with asyncio.timeout(pause):
                    await self._paste_stop.wait()
            except TimeoutError:
                continue
            break
        self.paste_left = 0
        self._tell(set())

    def stop_paste(self) -> None:
        self._paste_stop.set()

    def resize(self, rows: int, columns: int) -> None:
        self.terminal.resize(rows, columns)

    def reconnect(self) -> None:
        """Now, also where it would not by itself."""
        self._wake.set()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()

    @property
    def moving(self) -> bool:
        vmi = self._vmi()
        state = vmi.status.migration_state if vmi is not None and vmi.status else None
        return state is not None and not state.completed and not state.failed

    @property
    def banner(self) -> str:
        """What is wrong, if something is."""
        name = self.key.name
        match self.state:
            case ConsoleState.CONNECTING:
                return f"Connecting to {name}..."
            case ConsoleState.WAITING:
                return f"{name} is stopped. Ctrl+] s starts it, Ctrl+] x closes this console."
            case ConsoleState.LOST if self.moving:
                return f"{name} is moving. Input is held."
            case ConsoleState.LOST:
                lost = int((self._clock() - self.since).total_seconds())
                wait = max(0, round(self.retry_at - asyncio.get_running_loop().time()))
                why = f": {self.reason}" if self.reason else ""
                clock = f"{lost // 60}:{lost % 60:02}"
                return f"Connection lost {clock}{why}. Trying again in {wait} s. Ctrl+] R now"
            case ConsoleState.TAKEN:
                return "Another client took this console. Ctrl+] R takes it back (disconnects them)"
            case ConsoleState.DENIED | ConsoleState.CLOSED:
                return self.reason
            case _:
                return ""

    # Connection

    async def run(self) -> None:
        """Connects, and connects again, until closed."""
        tries = 0
        while not self._closing.is_set():
            if not self._runs():
                await self._wait_running()
                continue
            try:
                await self._once()
                tries = 0
            except Forbidden:
                self.reason = (
                    f"You may not open consoles in {self.key.namespace} (needs get on virtualmachineinstances/console)."
                )
                self._become(ConsoleState.DENIED)
                await self._pause(None)
                continue
            except Invalid as error:
                self.reason = f"{self.key.name} has no console: {error}"
                self._become(ConsoleState.DENIED)
                await self._pause(None)
                continue
            except KvtuiError as error:
                self.reason = str(error)
            if self._closing.is_set() or not self._runs():
                continue
            if self.state is ConsoleState.TAKEN:
                await self._pause(None)
                continue
            self._become(ConsoleState.LOST)
            await self._pause(0.2 if self.moving else _PAUSES[min(tries, len(_PAUSES) - 1)])
            tries += 1
        self.reason = f"The console of {self.key.name} is closed. R opens it again."
        self._become(ConsoleState.CLOSED)

    async def _once(self) -> None:
        """One connection, until it ends."""
        self._become(ConsoleState.CONNECTING if not self.received else self.state)
        path = subresource_path("virtualmachineinstances", self.key, "console")
        params = {"from": self._offset} if self._offset is not None else None
        async with self._client.websocket(path, params=params) as socket:
            skip = self._agree_on_offset(socket)
            self._connected_at = asyncio.get_running_loop().time()
            self.not_sent = False
            self.reason = ""
            self._become(ConsoleState.LIVE)
            if self._held:
                self._outgoing.put_nowait(bytes(self._held))
                self._held.clear()
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(socket), name=f"console input {self.key}")
                closer = tasks.create_task(self._close_when_asked(socket), name=f"console close {self.key}")
                await self._read(socket, skip)
                writer.cancel()
                closer.cancel()
            if self._offset is None and socket.close_code in (1000, 1005, None) and self._runs():
                # Upstream lets one client in and drops the one before without a word.
                self._become(ConsoleState.TAKEN)

    def _agree_on_offset(self, socket: aiohttp.ClientWebSocketResponse) -> int:
        """Bytes at the start of the stream that were seen already."""
        # aiohttp keeps the handshake's headers to itself; there is no public way to them.
        header = handshake_header(socket, OFFSET_HEADER)
        if not header.isdigit():
            self._offset = None
            return 0
        start, have = int(header), self._offset
        if have is None or start > have:
            if have is not None:
                self.note(f"{start - have:,} bytes were not kept by the server")
            self._offset = start
            return 0
        return have - start

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, skip: int) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                data = bytes(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                data = str(message.data).encode()
            else:
                break
            if skip:
                skip, data = max(0, skip - len(data)), data[skip:]
            if data:
                self._show(data)

    def _show(self, data: bytes) -> None:
        if self._offset is not None:
            self._offset += len(data)
        self.received += len(data)
        self.unread += data.count(b"\n")
        self._note_move()
        dirty = self.terminal.feed(data)
        answers = self.terminal.take_answers()
        if answers and asyncio.get_running_loop().time() - self._connected_at > _REPLAY:
            self.send(answers)
        self._tell(dirty)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            data = await self._outgoing.get()
            try:
                await socket.send_bytes(data)
            except (ConnectionError, aiohttp.ClientError):
                self.not_sent = True
                return

    async def _close_when_asked(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await self._closing.wait()
        await socket.close()

    # The VM

    def _vmi(self) -> VirtualMachineInstance | None:
        return self._cluster.informer(VirtualMachineInstance).get(self.key)

    def _vmi_node(self) -> str:
        vmi = self._vmi()
        return (vmi.status.node_name or "") if vmi is not None and vmi.status else ""

    def _runs(self) -> bool:
        vmi = self._vmi()
        return vmi is not None and vmi.status is not None and vmi.status.phase == "Running"

    async def _wait_running(self) -> None:
        if self.state is not ConsoleState.WAITING:
            self._become(ConsoleState.WAITING)
        await self._pause(0.25)

    def _note_move(self) -> None:
        node = self._vmi_node()
        if node and self._node and node != self._node:
            self.note(f"{self.key.name} moved from {self._node} to {node}")
        self._node = node or self._node

    def note(self, text: str) -> None:
        """A line of ours between the guest's lines."""
        now = self._clock().strftime("%H:%M:%S")
        self._tell(self.terminal.note(f"---- {now} {text} ----"))

    # Inside

    async def _pause(self, seconds: float | None) -> None:
        """Until woken, or for some seconds."""
        self._wake.clear()
        if self._closing.is_set():
            return
        self.retry_at = asyncio.get_running_loop().time() + (seconds or 0)
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    def _become(self, state: ConsoleState) -> None:
        if state is not self.state:
            self.state, self.since = state, self._clock()
        self._tell(set())

    def _tell(self, dirty: set[int]) -> None:
        for listener in list(self._listeners):
            listener(dirty)


class Consoles:
    """All sessions of this run, in the order in which they were opened."""

    def __init__(self, client: Client, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._cluster = cluster
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self.sessions: list[ConsoleSession] = []

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await asyncio.Event().wait()

    def open(self, key: ObjectKey) -> ConsoleSession:
        """The session of a VM; a closed one is opened again with its scrollback."""
        for index, session in enumerate(self.sessions):
            if session.key == key:
                if session.state is not ConsoleState.CLOSED:
                    return session
                fresh = self._begin(key)
                fresh.terminal = session.terminal
                self.sessions[index] = fresh
                return fresh
        session = self._begin(key)
        self.sessions.append(session)
        return session

    def _begin(self, key: ObjectKey) -> ConsoleSession:
        assert self._tasks is not None
        session = ConsoleSession(self._client, self._cluster, key, self._clock)
        self._tasks.create_task(session.run(), name=f"console {key}")
        return session

    @property
    def live(self) -> int:
        return sum(1 for s in self.sessions if s.state is not ConsoleState.CLOSED)

"""`kvtui console`: the serial console in this terminal, raw, until the prefix is pressed.

The session outlives reboots, agent restarts and migrations: the bytes seen so far are counted, and a new connection
asks for those that follow.

Source: virtctl console (keys, words); the console offsets are kvtui's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

import aiohttp
import click

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import ObjectKey
from kvtui.client.rest import Client, handshake_header
from kvtui.commands import complete
from kvtui.commands.connection import connected, merged, run_async, server_options
from kvtui.commands.targets import ROOT, parse
from kvtui.commands.verb import Verb, example
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import Conflict, Invalid, KvtuiError, NotFound, Permanent, Transient

ESCAPE = b"\x1d"
_EXIT = "Press Ctrl+] or Ctrl+5 to exit console."
OFFSET = "Kvtui-Console-Offset"


@click.command("console", cls=Verb, epilog=example("kvtui console web", "kvtui console web --log boot.log"))
@click.argument("name", metavar="VM", shell_complete=complete.names("virtualmachineinstances", "vm"))
@click.option("--read-only", is_flag=True, help="Send nothing to the guest.")
@click.option("--log", "log_file", metavar="FILE", type=click.File("ab"), help="Also append the output to a file.")
@click.option(
    "--timeout", type=float, default=5.0, show_default=True, metavar="MINUTES", help="Wait so long for the VM."
)
@server_options
@click.pass_context
def command(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Attach to a VM's serial console; Ctrl+] ends it."""
    ctx.exit(run_async(_console(name, merged(ctx, options))))


async def _console(name: str, options: dict[str, Any]) -> int:
    async with connected(options) as (client, namespace):
        key = parse((name,), namespace, "virtualmachineinstances")[0].key
        session = Session(client, key, read_only=options["read_only"], log=options["log_file"])
        async with asyncio.timeout(options["timeout"] * 60) as deadline:
            await session.run(connected=lambda: deadline.reschedule(None))
    return 0


class Session:
    """One attachment, over as many connections as it takes."""

    def __init__(self, client: Client, key: ObjectKey, *, read_only: bool, log: Any) -> None:
        self._client = client
        self._key = key
        self._read_only = read_only
        self._log = log
        self._offset: int | None = None
        self._input: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._done = asyncio.Event()

    async def run(self, connected: Any) -> None:
        """Until the prefix, the end of input, or the end of the VM. Raises what makes a connection impossible."""
        with raw_terminal(), self._reading():
            backoff = Backoff(0.2, 2.0)
            said = False
            while not self._done.is_set():
                try:
                    async with self._client.websocket(self._path, params=self._params) as socket:
                        if not said:
                            said = True
                            connected()
                            click.echo(f"Successfully connected to {self._key.name} console. {_EXIT}\r", err=True)
                        backoff.reset()
                        self._note_offset(socket)
                        await self._pump(socket)
                except (Transient, Conflict, Invalid) as error:
                    if not await self._worth_waiting(error):
                        raise
                if not self._done.is_set() and not await self._still_there():
                    click.echo("\r\nThe VM has ended.\r", err=True)
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next()):
                        await self._done.wait()

    @property
    def _path(self) -> str:
        return f"{ROOT}/namespaces/{self._key.namespace}/virtualmachineinstances/{self._key.name}/console"

    @property
    def _params(self) -> dict[str, str | int | None]:
        return {"from": self._offset}

    def _note_offset(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        text = handshake_header(socket, OFFSET)
        if text.isdigit():
            self._offset = int(text)

    async def _pump(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Until the connection or the session ends."""
        sending = asyncio.create_task(self._send(socket), name="console input")
        try:
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.BINARY:
                    continue
                if self._offset is not None:
                    self._offset += len(message.data)
                await asyncio.to_thread(_write, message.data)
                if self._log is not None:
                    self._log.write(message.data)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            data = await self._input.get()
            if data == b"" or ESCAPE in data:
                before = data.partition(ESCAPE)[0]
                if before and not self._read_only:
                    await socket.send_bytes(before)
                self._done.set()
                await socket.close()
                return
            if not self._read_only:
                await socket.send_bytes(data)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Keys go into the queue; when it is full the terminal waits."""
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()

        def readable() -> None:
            if self._input.full():
                return
            data = os.read(descriptor, 4096)
            self._input.put_nowait(data)
            if self._ends(data):
                loop.remove_reader(descriptor)

        file: asyncio.Task[None] | None = None
        try:
            loop.add_reader(descriptor, readable)
        except PermissionError:  # a file, or /dev/null: always readable, so there is nothing to wait for
            file = asyncio.create_task(self._read_file(descriptor), name="console input file")
        loop.add_signal_handler(signal.SIGTERM, self._done.set)
        try:
            yield
        finally:
            if file is not None:
                file.cancel()
            loop.remove_reader(descriptor)
            loop.remove_signal_handler(signal.SIGTERM)

    async def _read_file(self, descriptor: int) -> None:
        while True:
            data = await asyncio.to_thread(os.read, descriptor, 4096)
            await self._input.put(data)
            if self._ends(data):
                return

    def _ends(self, data: bytes) -> bool:
        """Whether no more input is to be read; a session that has not begun ends with it."""
        last = data == b"" or ESCAPE in data
        if last and not self._connected_once():
            self._done.set()
        return last

    def _connected_once(self) -> bool:
        return self._offset is not None

    async def _worth_waiting(self, error: KvtuiError) -> bool:
        """While the VM is only starting, or its node is away for a moment, the session waits."""
        if isinstance(error, NotFound):
            return False
        if isinstance(error, Permanent) and not isinstance(error, (Invalid, Conflict)):
            return False
        return await self._still_there()

    async def _still_there(self) -> bool:
        try:
            vmi = await self._client.find(VirtualMachineInstance, self._key)
        except Transient:
            return True
        return vmi is not None and vmi.status.phase not in ("Succeeded", "Failed")


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys unprocessed and unechoed, put back whatever happens. Nothing to do where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

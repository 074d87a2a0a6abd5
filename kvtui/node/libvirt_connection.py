"""One connection to libvirt that is kept, and each call on it in a bounded pool of threads.

Connection errors are told apart from answers by asking whether the connection is alive; "no domain" is an answer.
After the daemon came back all handles are dropped, events are registered anew and subscribers are told to list again.

Source: https://libvirt.org/html/libvirt-libvirt-host.html
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt
import structlog

from kvtui.controlloop.backoff import Backoff
from kvtui.errors import KvtuiError, Unreachable
from kvtui.node import libvirt_events
from kvtui.node.hypervisor import (
    AgentUnavailable,
    CallTimeout,
    ConnectionChanged,
    DomainId,
    Event,
    EventHandler,
    Unsubscribe,
)
from kvtui.node.libvirt_threads import Lane, Threads, start_event_loop, translate

T = TypeVar("T")
log = structlog.get_logger()

SHORT = 15.0
"""Seconds for a call that only reads or flips a state."""
OPEN = 20.0
"""Seconds for opening a connection: a cold daemon probes its emulators first."""
ALIVE_EVERY = 10.0
SETTLE = 1.0
"""Seconds after a daemon's restart in which it still finds its guests again."""


class LibvirtConnection:
    """`run` keeps the connection; calls raise Unreachable while there is none."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._threads = Threads()
        self._connection: Any = None
        self._callbacks: list[int] = []
        self._handles: dict[DomainId, Any] = {}
        self._turns: weakref.WeakValueDictionary[DomainId, asyncio.Lock] = weakref.WeakValueDictionary()
        self._handlers: list[EventHandler] = []
        self._connected = asyncio.Event()
        self._closed = asyncio.Event()
        self._opening: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # Connection

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        await self._connected.wait()

    def subscribe(self, handler: EventHandler) -> Unsubscribe:
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        self._loop = asyncio.get_running_loop()
        backoff = Backoff(0.1, 5.0)
        again = False
        try:
            while True:
                try:
                    await self._open(settle=again)
                    backoff.reset()
                    again = True
                    await self._watch()
                except KvtuiError as error:
                    pause = backoff.next()
                    log.warning("libvirt is not reachable", uri=self.uri, error=str(error), seconds=round(pause, 2))
                    await asyncio.sleep(pause)
                finally:
                    await self._drop()
        finally:
            if self._opening is not None:
                self._opening.cancel()
            self._threads.close()

    async def _open(self, *, settle: bool) -> None:
        self._closed.clear()

        def connect() -> Any:
            start_event_loop()
            try:
                connection = libvirt.open(self.uri)
            except libvirt.libvirtError as error:
                raise Unreachable(f"libvirt at {self.uri} cannot be opened: {error.get_error_message()}") from error
            preparations: tuple[Callable[[], object], ...] = (
                lambda: connection.setKeepAlive(5, 3),
                lambda: connection.registerCloseCallback(self._on_close, None),
            )
            for prepare in preparations:
                try:
                    prepare()
                except libvirt.libvirtError:
                    continue  # the test driver has neither
            self._callbacks = libvirt_events.register(connection, self._deliver)
            return connection

        # An attempt that hangs is waited for again: a second one would hang as well, and the first would come to life
        # with callbacks that nobody takes back.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._threads.call(Lane.LONG, connect, None))
        try:
            async with asyncio.timeout(OPEN):
                self._connection = await asyncio.shield(self._opening)
        except TimeoutError as error:
            raise Unreachable(f"libvirt at {self.uri} does not answer within {OPEN:g} s") from error
        self._opening = None
        if settle:
            await asyncio.sleep(SETTLE)
        self._connected.set()
        log.info("libvirt is connected", uri=self.uri)
        self._tell(ConnectionChanged(connected=True))

    async def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                async with asyncio.timeout(ALIVE_EVERY):
                    await self._closed.wait()
            except TimeoutError:
                if not await self.call(Lane.SHORT, lambda connection: bool(connection.isAlive())):
                    break
        raise Unreachable("the connection to libvirt was lost")

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._handles.clear()
        if self.connected:
            self._connected.clear()
            self._tell(ConnectionChanged(connected=False))
        if connection is not None:

            def close() -> None:
                libvirt_events.deregister(connection, self._callbacks)
                with contextlib.suppress(libvirt.libvirtError):  # the test driver has none
                    connection.unregisterCloseCallback()
                try:
                    connection.close()
                except libvirt.libvirtError as error:
                    log.debug("closing libvirt failed", error=str(error))

            try:
                await asyncio.shield(self._threads.call(Lane.SHORT, close, SHORT))
            except Unreachable as error:
                log.warning("closing libvirt hangs", error=str(error))

    def _on_close(self, _connection: Any, _reason: int, _opaque: Any) -> None:
        self._from_thread(self._closed.set)

    def _deliver(self, event: Event) -> None:
        self._from_thread(lambda: self._tell(event))

    def _from_thread(self, function: Callable[[], object]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    def _tell(self, event: Event) -> None:
        for handler in list(self._handlers):
            handler(event)

    # Calls

    async def call(self, lane: Lane, function: Callable[[Any], T], timeout: float | None = SHORT) -> T:
        """What the function makes of the connection, in a thread of the lane."""
        connection = self._connection
        if connection is None:
            raise Unreachable("libvirt is not connected")

        def guarded() -> T:
            try:
                return function(connection)
            except libvirt.libvirtError as error:
                raise translate(error, connection) from error

        return await self._threads.call(lane, guarded, timeout)

    async def on(
        self, domain: DomainId, function: Callable[[Any], T], lane: Lane = Lane.SHORT, timeout: float | None = SHORT
    ) -> T:
        """What the function makes of the handle of a domain."""

        def on_domain(connection: Any) -> T:
            handle = self._handles.get(domain)
            if handle is None:
                handle = connection.lookupByUUIDString(domain)
                self._handles[domain] = handle
            try:
                return function(handle)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    self._handles.pop(domain, None)
                raise

        return await self.call(lane, on_domain, timeout)

    async def on_agent(
        self, domain: DomainId, function: Callable[[Any], T], timeout: float, lane: Lane = Lane.AGENT, patience: int = 5
    ) -> T:
        """A call that a guest agent answers; one at a time for each guest, so that a slow one holds one thread.

        `patience` is how many seconds libvirt waits for the agent, `timeout` how many we wait for our turn and for
        libvirt. Raises AgentUnavailable when an earlier call takes all of that. A turn ends when libvirt has answered,
        also when its caller has given up before: else impatient callers would pile up in threads.
        """
        turn = self._turns.setdefault(domain, asyncio.Lock())

        def ask(handle: Any) -> T:
            handle.agentSetResponseTimeout(patience, 0)  # else it waits for ever
            return function(handle)

        try:
            async with asyncio.timeout(timeout):
                await turn.acquire()
        except TimeoutError as error:
            raise AgentUnavailable("the guest agent is still busy with an earlier request") from error
        answer = asyncio.create_task(self.on(domain, ask, lane, None), name=f"guest agent call {domain}")

        def end(task: asyncio.Task[T]) -> None:
            turn.release()
            if not task.cancelled():
                task.exception()  # its caller may be gone

        answer.add_done_callback(end)
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.shield(answer)
        except TimeoutError as error:
            raise CallTimeout(f"libvirt did not answer within {timeout:g} s") from error

"""Where libvirt's blocking calls and its event loop run: bounded thread pools and one daemon thread.

Short calls have a pool of their own so that a migration, a slow guest agent or a job's monitor never starves them;
an abort has a thread that nothing else can occupy. A libvirtError belongs to the thread that made it, so it becomes
one of our errors there.

Source: https://libvirt.org/html/libvirt-libvirt-event.html
"""

from __future__ import annotations

import asyncio
import enum
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import libvirt
import structlog

from kvtui.errors import KvtuiError, Unreachable
from kvtui.node.hypervisor import Aborted, AgentUnavailable, CallTimeout, DomainGone, HypervisorRefused, NotRunning

T = TypeVar("T")
log = structlog.get_logger()

_CONNECTION_CODES = frozenset(
    {
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_FAILED,
    }
)


AGENT_CODES = frozenset(
    getattr(libvirt, name)
    for name in ("VIR_ERR_AGENT_UNRESPONSIVE", "VIR_ERR_AGENT_UNSYNCED", "VIR_ERR_AGENT_COMMAND_TIMEOUT")
    if hasattr(libvirt, name)
)
"""No guest agent answers."""


class Lane(enum.Enum):
    """Which pool a call uses; the value is its number of threads."""

    SHORT = ("short", 8)
    MODIFY = ("modify", 6)
    AGENT = ("agent", 16)
    """What is asked of guest agents again and again."""
    REQUEST = ("request", 6)
    """What somebody waits for and a guest may delay: a shutdown, a freeze, a picture."""
    LONG = ("long", 8)
    MONITOR = ("monitor", 2)
    ABORT = ("abort", 1)
    SAMPLE = ("sample", 1)
    """What nobody waits for."""


class Threads:
    """The pools of one connection. `close` does not wait for calls that hang."""

    def __init__(self) -> None:
        self._pools = {
            lane: ThreadPoolExecutor(lane.value[1], thread_name_prefix=f"libvirt-{lane.value[0]}") for lane in Lane
        }

    async def call(self, lane: Lane, function: Callable[[], T], timeout: float | None) -> T:
        """Runs the function in a thread. Raises CallTimeout when it takes longer than `timeout` seconds."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pools[lane], function)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError as error:
            raise CallTimeout(f"libvirt did not answer within {timeout:g} s") from error

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def translate(error: libvirt.libvirtError, connection: Any) -> KvtuiError:
    """Our error for libvirt's; call it in the thread that caught it."""
    code, message = error.get_error_code(), error.get_error_message() or str(error)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return DomainGone(message)
    if code in _CONNECTION_CODES and not _alive(connection):
        return Unreachable(f"libvirt is not reachable: {message}")
    if code == libvirt.VIR_ERR_OPERATION_ABORTED:
        return Aborted(message, code)
    if code in AGENT_CODES or "uest agent is not" in message:
        return AgentUnavailable(message, code)
    if code == libvirt.VIR_ERR_OPERATION_INVALID or message.endswith("not running"):
        return NotRunning(message, code)
    return HypervisorRefused(message, code)


def _alive(connection: Any) -> bool:
    if connection is None:
        return False
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


_loop_lock = threading.Lock()
_loop_thread: threading.Thread | None = None


def start_event_loop() -> None:
    """Registers libvirt's event loop and runs it in a daemon thread; once per process, before the first open."""
    global _loop_thread
    with _loop_lock:
        if _loop_thread is not None:
            return
        # libvirt prints every error on stderr unless a handler takes it; they all reach us as exceptions.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        _loop_thread = threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True)
        _loop_thread.start()


def _run_event_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.warning("libvirt event loop failed", error=str(error))

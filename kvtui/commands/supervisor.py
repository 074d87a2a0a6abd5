"""The supervisor: starts an engine's processes in order, restarts those that end, and ends them all at the end.

Children die with it, so that nothing of an engine runs that nobody watches; guests do not, because they are libvirt's.
It adopts what its children leave behind (QEMU processes of a lab), so that nothing of a lab stays as a zombie.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from kvtui.commands.engine import EngineDirectory, EngineRecord, ProcessRecord
from kvtui.commands.processes import identify, tail
from kvtui.errors import Unsupported

log = structlog.get_logger()

READY_FD = "KVTUI_READY_FD"
"""Environment of a child: the descriptor to which it writes a line when it is ready."""

_BACKOFF_FIRST = 0.5
_BACKOFF_MAX = 10.0
_STEADY = 10.0
"""Seconds after which a process counts as having run well."""
_MAX_FAILURES = 3
"""Ends of one child that make the start of an engine fail."""
_MAX_LOG = 16 * 2**20
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    tells_ready: bool = True
    """It writes to READY_FD; otherwise it counts as ready when it runs."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""


@dataclass(slots=True)
class _State:
    child: Child
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    """Ends nobody asked for."""
    wanted: bool = True
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """Keeps children running between `start` and `stop`. Use as an async context manager; leaving it ends them all."""

    def __init__(
        self, engine: EngineDirectory, record: EngineRecord, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._record = record
        self._clock = clock
        self._states: dict[str, _State] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._spawning = 0
        self._own: set[int] = set()
        """Children that asyncio has yet to collect."""
        self._given_up: asyncio.Queue[str] = asyncio.Queue()

    @property
    def record(self) -> EngineRecord:
        return self._record

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Children may be started inside; all are ended, last started first, when the block is left."""
        _adopt_orphans(True)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        trimming = asyncio.create_task(self._trim_logs(), name="log trimmer")
        try:
            yield
        finally:
            trimming.cancel()
            for name in reversed(list(self._tasks)):
                await self.stop(name)
            self._reap()
            loop.remove_signal_handler(signal.SIGCHLD)
            _adopt_orphans(False)

    def start(self, child: Child) -> None:
        """Begins to keep the child running."""
        state = _State(child)
        self._states[child.name] = state
        self._tasks[child.name] = asyncio.create_task(self._keep(state), name=f"keep {child.name}")

    async def wait_ready(self, name: str) -> None:
        """Until the child has said so."""
        await self._states[name].ready.wait()

    async def fail_with_children(self) -> None:
        """Raises Unsupported, with its last words, when a child of an engine that is not ready yet keeps failing."""
        name = await self._given_up.get()
        path = self._engine.log(name)
        raise Unsupported(f"{name} does not start: {last_words(path)}", hint=f"its log is {path}")

    async def stop(self, name: str) -> None:
        """Ends the child for good."""
        state = self._states.pop(name)
        state.wanted = False
        task = self._tasks.pop(name)
        process = state.process
        if process is not None and process.returncode is None:
            log.info("stopping", process=name)
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(state.child.grace):
                    await process.wait()
            except TimeoutError:
                log.warning("killing", process=name)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def mark_ready(self) -> None:
        """The engine is up: from now on children are restarted however often they fail."""
        self._update(ready=True)

    async def _keep(self, state: _State) -> None:
        pause = _BACKOFF_FIRST
        while True:
            started = self._clock()
            status = await self._run_once(state)
            lasted = self._clock() - started
            if not state.wanted:
                return
            log.warning("process ended", process=state.child.name, status=status, seconds=round(lasted, 1))
            state.failures += 1
            if state.failures >= _MAX_FAILURES and not self._record.ready:
                self._given_up.put_nowait(state.child.name)
                return
            if lasted > _STEADY:
                pause = _BACKOFF_FIRST
            await asyncio.sleep(pause)
            pause = min(pause * 2, _BACKOFF_MAX)

    async def _run_once(self, state: _State) -> int:
        child = state.child
        reading, writing = os.pipe()
        out = os.open(self._engine.log(child.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._spawning += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *("setpriv", "--pdeathsig", "TERM", "--", *child.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, READY_FD: str(writing)},
                pass_fds=(writing,),
                start_new_session=True,
            )
            state.process = process
            self._own.add(process.pid)
        finally:
            self._spawning -= 1
            os.close(writing)
            os.close(out)
        self._note(child.name, process.pid)
        listening = asyncio.create_task(self._listen(state, reading), name=f"readiness of {child.name}")
        try:
            return await process.wait()
        finally:
            listening.cancel()
            self._own.discard(process.pid)
            self._reap()

    async def _listen(self, state: _State, descriptor: int) -> None:
        """Waits for the child's line. A child that tells nothing is ready when it runs."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        try:
            if not state.child.tells_ready or await reader.readline():
                state.ready.set()
                log.info("process ready", process=state.child.name)
        finally:
            transport.close()

    def _note(self, name: str, pid: int) -> None:
        identity = identify(pid)
        processes = {**self._record.processes, name: ProcessRecord(identity.pid, identity.started)}
        self._update(processes=processes)
        log.info("process started", process=name, pid=pid)

    def _update(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)
        self._engine.write(self._record)

    def _reap(self) -> None:
        """Takes note of the end of processes that came to us from others; our own children are asyncio's to collect."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in self._own or self._spawning:
                return
            with contextlib.suppress(ChildProcessError):
                os.waitpid(found.si_pid, os.WNOHANG)

    async def _trim_logs(self) -> None:
        """Keeps the logs bounded: the older half goes to NAME.1."""
        while True:
            for path in (self._engine.data / "logs").glob("*.log"):
                await asyncio.to_thread(_trim, path)
            await asyncio.sleep(60)


def last_words(path: Path) -> str:
    """The last error in a log of ours, or the last line of any other."""
    lines = [line for line in tail(path, 16384) if line.strip()]
    for line in reversed(lines):
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(entry, dict) and entry.get("level") == "error" and entry.get("error"):
            return str(entry["error"])
    return lines[-1] if lines else "it said nothing"


def _trim(path: Path) -> None:
    # Writers append, so that a truncated file goes on at its new end.
    if path.stat().st_size > _MAX_LOG:
        old = path.with_name(f"{path.name}.1")
        old.write_bytes(path.read_bytes())
        old.chmod(0o600)
        os.truncate(path, 0)


def _adopt_orphans(adopt: bool) -> None:
    """Whether processes whose parents end become children of this one, which has to take note of their end then."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def tell_ready() -> None:
    """Tells the supervisor, if there is one, that this process is ready."""
    descriptor = os.environ.pop(READY_FD, "")
    if descriptor:
        with contextlib.suppress(OSError):
            os.write(int(descriptor), b"ready\n")
            os.close(int(descriptor))

"""Processes that outlive the command that started them: identities that cannot be confused, and daemons."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told apart from a later one with the same number by its start."""

    pid: int
    started: int
    """Clock ticks after boot, from /proc/PID/stat."""

    def is_alive(self) -> bool:
        return self.pid > 0 and _start_of(self.pid) == self.started


def identify(pid: int) -> ProcessId:
    """The identity of a process that exists now; one that is gone is never alive."""
    return ProcessId(pid, _start_of(pid) or 0)


def end(process: ProcessId, *, number: signal.Signals = signal.SIGTERM, grace: float) -> bool:
    """Signals the process and waits for it, then kills it. False when it had to be killed."""
    if not process.is_alive():
        return True
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not process.is_alive():  # the handle may be that of a successor
            return True
        for step, seconds in ((number, grace), (signal.SIGKILL, 10.0)):
            try:
                signal.pidfd_send_signal(handle, step)
            except ProcessLookupError:
                return True
            if select.select([handle], [], [], seconds)[0]:
                return step is number
        return False
    finally:
        os.close(handle)


def daemonize(run: Callable[[int], int], log: Path) -> int:
    """Runs `run(report)` in a process of its own session without a terminal; returns the reading end of `report`.

    The daemon's output goes to `log`. `report` is closed when the daemon closes it or ends.
    """
    reading, writing = os.pipe()
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if first:
        os.close(writing)
        os.waitpid(first, 0)
        return reading
    # Neither of the two children may return into the caller's code.
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        _redirect(log)
        _close_all_but(0, 1, 2, writing)
        os._exit(run(writing))
    except BaseException as error:
        os.write(2, f"the daemon failed: {error!r}\n".encode())
        os._exit(1)


def read_lines(descriptor: int, *, timeout: float, line: Callable[[str], bool]) -> bool:
    """Gives each line that arrives to `line` until it returns True. False at end of file. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    rest = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        data = os.read(descriptor, 65536)
        if not data:
            return False
        *lines, rest = (rest + data).split(b"\n")
        for text in lines:
            if line(text.decode(errors="replace")):
                return True


def tail(path: Path, size: int = 4096) -> list[str]:
    """The last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []


def _close_all_but(*keep: int) -> None:
    # A lock that the caller holds would be held by the daemon too, for as long as it lives.
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)


def _start_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in "ZX" else int(rest[18])

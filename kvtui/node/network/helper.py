"""A detached process in a pod's namespace that must live as long as the guest, not as long as the agent.

The process is started in its own session, so it survives the agent. A restarted agent finds it by its namespace and
its arguments, which needs no record that a crash could lose, and starts it anew when it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import structlog

from kvtui.controlloop.backoff import Backoff
from kvtui.node.pids import Pid

log = structlog.get_logger()
NETNS = Path("/run/netns")


class Helper:
    """Keeps one process alive in a network namespace while `run` runs."""

    def __init__(self, name: str, netns: str, args: list[str]) -> None:
        self.name = name
        self.netns = netns
        self.args = args
        self.pid: Pid | None = None
        self.started = asyncio.Event()
        """Set while a process is there."""

    async def run(self) -> None:
        """Until cancelled; the process stays."""
        backoff = Backoff(0.2, 30)
        self.pid = next(iter(processes(self.netns, self.args)), None)
        while True:
            if self.pid is None or not self.pid.alive:
                process = await asyncio.create_subprocess_exec(
                    *("nsenter", f"--net={NETNS / self.netns}", "--", *self.args),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
                self.pid = Pid.of(process.pid)
                self.started.set()
                status = await process.wait()
                log.warning("helper ended", helper=self.name, status=status)
            else:
                self.started.set()
                await _wait_gone(self.pid)
                log.warning("adopted helper ended", helper=self.name)
            self.started.clear()
            self.pid = None
            await asyncio.sleep(backoff.next())


def processes(netns: str, args: list[str] | None = None) -> list[Pid]:
    """Processes in a network namespace, optionally only those with exactly these arguments."""
    try:
        inode = os.stat(NETNS / netns).st_ino
    except OSError:
        return []
    wanted = None if args is None else "\0".join(args).encode() + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.stat(entry / "ns/net").st_ino != inode:
                continue
            if wanted is not None and (entry / "cmdline").read_bytes() != wanted:
                continue
        except OSError:
            continue
        if pid := Pid.of(int(entry.name)):
            found.append(pid)
    return found


async def stop(pid: Pid | None) -> None:
    """SIGTERM, then SIGKILL after two seconds; returns when the process is gone."""
    if pid is None or not pid.alive:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid.number, signal.SIGTERM)
    try:
        async with asyncio.timeout(2):
            await _wait_gone(pid)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid.number, signal.SIGKILL)
        await _wait_gone(pid)


async def _wait_gone(pid: Pid) -> None:
    try:
        descriptor = os.pidfd_open(pid.number)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    try:
        if not pid.alive:
            return
        loop.add_reader(descriptor, gone.set)
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

"""What processes cost, read from /proc."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> tuple[float, float]:
    """MiB: resident, and resident with shared pages divided by those who share them (PSS)."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0])
    return fields["Rss"] / 1024, fields["Pss"] / 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def children(parents: Sequence[int], command: str) -> list[int]:
    """Processes with this command name that these parents started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        name, _, rest = text.partition("(")[2].rpartition(")")
        if name.startswith(command) and int(rest.split()[1]) in parents:
            found.append(int(entry.name))
    return found


def guests(directory: str) -> list[int]:
    """QEMU processes whose arguments name this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu-system" in arguments.partition(b"\0")[0] and directory.encode() in arguments:
            found.append(int(entry.name))
    return found


async def wait_idle(pids: Sequence[int], timeout: float = 180.0) -> None:
    """Until all of them together use less than a tenth of a core each for two seconds, as booted guests do."""
    async with asyncio.timeout(timeout):
        while True:
            before = [cpu_seconds(pid) for pid in pids]
            await asyncio.sleep(2)
            if all(cpu_seconds(pid) - was < 0.2 for pid, was in zip(pids, before, strict=True)):
                return

"""Processes of a node: everything that lives in one of its namespaces, whoever started it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path


def processes_in(namespace: Path) -> list[int]:
    """Process ids in the namespace that the file holds; the file is named by its kind (mnt, uts, net).

    Empty when it holds none.
    """
    try:
        wanted = os.stat(namespace)
    except FileNotFoundError:
        return []
    found: list[int] = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = os.stat(f"/proc/{entry}/ns/{namespace.name}")
            except OSError:
                continue  # it ended meanwhile, or is a zombie
            if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry))
    return found


def end_processes(pids: Iterable[int], *, grace: float) -> None:
    """Asks the processes to end, and kills those that have not after `grace` seconds. Returns when all are gone."""
    handles: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                handles[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        _signal(handles, signal.SIGTERM)
        left = _wait(handles, grace)
        _signal(left, signal.SIGKILL)
        _wait(left, 10.0)
    finally:
        for handle in handles.values():
            os.close(handle)


def _signal(handles: dict[int, int], number: signal.Signals) -> None:
    for handle in handles.values():
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            continue


def _wait(handles: dict[int, int], seconds: float) -> dict[int, int]:
    """Those that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    left = dict(handles)
    poller = select.poll()
    for handle in left.values():
        poller.register(handle, select.POLLIN)
    while left and (rest := deadline - time.monotonic()) > 0:
        ended = {handle for handle, _ in poller.poll(rest * 1000)}
        for handle in ended:
            poller.unregister(handle)
        left = {pid: handle for pid, handle in left.items() if handle not in ended}
    return left

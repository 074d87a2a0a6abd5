"""What the screen costs: time to the first rows of a list of 10,000 VMs, and bytes on the wire per change and key.

Bytes are counted on a pseudo-terminal on which the real program runs, so they are what goes over SSH.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from tests.bench.screen_program import ROWS, many
from tests.tui.apps import canned_app, main_screen, shown

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
_QUIET = 0.7
"""Seconds without a byte after which the screen counts as settled."""


def report(title: str, value: float, unit: str, limit: float) -> None:
    line = f"{title:44} {value:10.3f} {unit:6} limit {limit:g}"
    print(line)
    results = ROOT / "build"
    if results.is_dir():
        with (results / "bench-screen.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    assert value <= limit, line


class OnTerminal:
    """The program on a pseudo-terminal."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master

    def settled(self, longest: float = 30.0) -> bytes:
        """Everything that is written until nothing comes any more."""
        out = bytearray()
        end = time.monotonic() + longest
        while time.monotonic() < end:
            ready, _, _ = select.select([self._master], [], [], _QUIET)
            if not ready:
                break
            out += os.read(self._master, 65536)
        return bytes(out)

    def until(self, text: bytes, longest: float = 60.0) -> None:
        out = b""
        end = time.monotonic() + longest
        while text not in out and time.monotonic() < end:
            ready, _, _ = select.select([self._master], [], [], 1.0)
            if ready:
                out += os.read(self._master, 65536)
        assert text in out
        self.settled()

    def bytes_of(self, keys: bytes) -> int:
        os.write(self._master, keys)
        return len(self.settled())

    def bytes_of_signal(self) -> int:
        self.process.send_signal(signal.SIGUSR1)
        return len(self.settled())


@contextlib.contextmanager
def on_terminal(columns: int, rows: int) -> Iterator[OnTerminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.screen_program"],
        stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=ROOT, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    try:
        yield OnTerminal(process, master)
    finally:
        process.terminate()
        process.wait(10)
        os.close(master)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def test_bytes_on_the_wire(columns: int, rows: int) -> None:
    name = f"{columns}x{rows}"
    with on_terminal(columns, rows) as terminal:
        terminal.until(b"vm-00005")
        if columns >= 100:
            steps = [terminal.bytes_of(b"j") for _ in range(4)]
            report(f"cursor step with its detail pane, {name}", sum(steps) / len(steps), "bytes", 600)
            terminal.bytes_of(b"z")
            terminal.bytes_of(b"j")  # a new layout is painted once more with the first change after it
        steps = [terminal.bytes_of(b"j") for _ in range(3)]
        report(f"cursor step, list only, {name}", sum(steps) / len(steps), "bytes", 600)
        report(f"one changed cell, {name}", terminal.bytes_of_signal(), "bytes", 400)
        report(f"nothing happens for a second, {name}", terminal.bytes_of(b""), "bytes", 0)
        report(f"a page, {name}", terminal.bytes_of(b"\x1b[6~"), "bytes", 8000)


async def test_ten_thousand_vms_are_on_the_screen_in_half_a_second() -> None:
    objects = list(many(ROWS))
    app = canned_app([])
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        session = app.session
        vms = session.cluster.informer(VirtualMachine)
        vmis = session.cluster.informer(VirtualMachineInstance)
        started = time.perf_counter()
        for obj in objects:
            if isinstance(obj, VirtualMachine):
                vms.store.put(obj)
            elif isinstance(obj, VirtualMachineInstance):
                vmis.store.put(obj)
            session.views.vms.touch(obj.key)
        while "vm-00000" not in shown(app):
            await pilot.pause(0)
        report("first paint of 10,000 VMs", time.perf_counter() - started, "s", 0.5)


async def test_keys_sorting_and_filtering_are_quick() -> None:
    app = canned_app(many(ROWS))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        main = main_screen(app)
        times = []
        for _ in range(50):
            started = time.perf_counter()
            main.press("j")
            times.append(time.perf_counter() - started)
            await pilot.pause(0)
        report("key to changed lines, median", sorted(times)[25] * 1000, "ms", 6.0)
        collection = main.view.collection
        started = time.perf_counter()
        collection.set_sort("status")
        report("sort 10,000 rows", time.perf_counter() - started, "s", 0.3)
        collection.set_filter("v")
        started = time.perf_counter()
        collection.set_filter("vm-09 node-3")
        report("filter 10,000 rows, next letter", time.perf_counter() - started, "s", 0.3)

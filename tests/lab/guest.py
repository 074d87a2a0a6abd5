"""A guest of the lab's image under plain QEMU, and someone at its serial console."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BOOT = 120.0
"""Seconds that a boot may take on a loaded machine without KVM."""


class Console:
    """What the guest prints, and a keyboard."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in, self._out = process.stdin, process.stdout
        self._seen = b""

    def expect(self, text: str, timeout: float = 30.0) -> str:
        """Everything up to and including the text. Raises AssertionError with what came instead."""
        wanted = text.encode()
        deadline = time.monotonic() + timeout
        while wanted not in self._seen:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._out], [], [], left)[0]
            data = os.read(self._out.fileno(), 65536) if ready else b""
            assert data, f"no {text!r} in {self._seen.decode(errors='replace')!r}"
            self._seen += data
        before, _, self._seen = self._seen.partition(wanted)
        return (before + wanted).decode(errors="replace")

    def type(self, text: str) -> None:
        self._in.write(text.encode())
        self._in.flush()

    def log_in(self, user: str = "root", password: str = "") -> None:
        self.expect("login: ", BOOT)
        self.type(f"{user}\r")
        if password:
            self.expect("Password: ")
            self.type(f"{password}\r")
        self.expect("$ " if user != "root" else "# ")

    def run(self, command: str) -> str:
        """The output of a command in the shell."""
        # The marker is put together by the shell, so that its echo is not taken for its output.
        self.type(f"{command}; echo EN''D$?\r")
        out = self.expect("END0", 60.0)
        self.expect("# ")
        return out.removesuffix("END0").partition("\n")[2].replace("\r", "").strip()


@contextmanager
def guest(place: Path, image: Path, *, size: str, memory: int, more: Sequence[str] = ()) -> Iterator[Console]:
    """A guest with an overlay over the image that has this size."""
    disk = place / "disk.qcow2"
    overlay = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(disk), size]
    subprocess.run(overlay, check=True)
    command = [
        *("qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-m", str(memory)),
        *("-display", "none", "-monitor", "none", "-serial", "stdio", "-nodefaults", "-vga", "std"),
        *("-drive", f"file={disk},if=virtio,format=qcow2", "-device", "virtio-rng-pci", *more),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield Console(process)
        finally:
            process.kill()

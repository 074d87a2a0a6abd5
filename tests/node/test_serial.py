"""The serial socket: input arrives, output is drained by another process, and both end together."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kvtui.node.serial import LOST, SerialPort, is_unheard


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncIterator[tuple[SerialPort, socket.socket]]:
    """A connected port and the guest's end of it."""
    path = tmp_path / "serial"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        port = await SerialPort.open(path)
        end, _ = listener.accept()
        with end:
            yield port, end
        await port.close()


async def test_input_reaches_the_guest(guest: tuple[SerialPort, socket.socket]) -> None:
    port, end = guest
    await port.write(b"root\n")
    assert port.unread > 0
    assert end.recv(16) == b"root\n"
    assert port.unread == 0


async def test_output_never_waits_for_the_agent(guest: tuple[SerialPort, socket.socket]) -> None:
    _, end = guest
    end.settimeout(20)
    # Far more single bytes than the kernel queues, while this very loop is blocked by sending them.
    for _ in range(5000):
        end.send(b"x")


async def test_a_guest_that_ends_is_noticed(guest: tuple[SerialPort, socket.socket]) -> None:
    port, end = guest
    end.close()
    async with asyncio.timeout(10):
        await port._drain.wait()
    assert port.ended


async def test_output_goes_on_in_a_log_that_nobody_writes_any_more(tmp_path: Path) -> None:
    path, log = tmp_path / "serial", tmp_path / "log"
    log.write_bytes(b"before")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        port = await SerialPort.open(path, log)
        end, _ = listener.accept()
        with end:
            end.sendall(b"after")
        async with asyncio.timeout(10):
            await port._drain.wait()
        await port.close()
    assert log.read_bytes() == b"before" + LOST + b"after"


def test_a_guest_whose_logs_nobody_reads_is_known(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stderr=writing) as process:
        os.close(writing)
        (tmp_path / "guest.pid").write_text(f"{process.pid}\n")
        assert not is_unheard("guest", tmp_path)
        os.close(reading)
        assert is_unheard("guest", tmp_path)
    assert not is_unheard("guest", tmp_path)
    assert not is_unheard("another", tmp_path)


def test_a_guest_that_writes_its_logs_itself_needs_no_daemon(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(["cat"], stdin=subprocess.PIPE, stderr=log) as process:
        (tmp_path / "guest.pid").write_text(f"{process.pid}\n")
        assert not is_unheard("guest", tmp_path)


async def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await SerialPort.open(tmp_path / "none")

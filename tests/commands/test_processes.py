"""Identities of processes, and daemons that are free of their starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtui.commands.processes import ProcessId, end, identify, read_lines, tail

OBEDIENT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"

DAEMON = """
import fcntl, os, sys
from pathlib import Path
from kvtui.commands.processes import daemonize

lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)

def run(report):
    os.write(report, f"{os.getpid()} {os.getsid(0)} {os.getppid()}\\n".encode())
    print("into the log", flush=True)
    os.write(report, b"ready\\n")
    os.close(report)
    sys.stdin.read()
    os.execvp("sleep", ["sleep", "60"])

reading = daemonize(run, Path(sys.argv[2]))
print(os.getsid(0), os.read(reading, 100).decode(), end="", flush=True)
"""


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    code = getattr(request, "param", OBEDIENT)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


def test_a_successor_with_the_same_number_is_somebody_else(process: subprocess.Popen[str]) -> None:
    identity = identify(process.pid)
    assert identity.is_alive()
    assert not ProcessId(identity.pid, identity.started - 1).is_alive()


def test_a_zombie_is_not_alive(process: subprocess.Popen[str]) -> None:
    identity = identify(process.pid)
    assert end(identity, grace=10.0)
    assert not identity.is_alive()


def test_nothing_is_ended_that_has_another_start(process: subprocess.Popen[str]) -> None:
    identity = identify(process.pid)
    assert end(ProcessId(identity.pid, identity.started - 1), grace=1.0)
    assert identity.is_alive()


@pytest.mark.parametrize("process", [STUBBORN], indirect=True)
def test_a_process_that_does_not_listen_is_killed(process: subprocess.Popen[str]) -> None:
    assert not end(identify(process.pid), grace=0.1)
    assert process.wait(10) == -signal.SIGKILL


def test_a_daemon_has_a_session_of_its_own_and_holds_no_lock_of_its_starter(tmp_path: Path) -> None:
    import fcntl

    lock, log = tmp_path / "lock", tmp_path / "logs" / "log"
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(lock), str(log)], capture_output=True, text=True, check=True, timeout=30
    )
    own_session, pid, session, *_ = done.stdout.split()
    try:
        assert session != own_session
        with lock.open() as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert log.read_text() == "into the log\n"
        assert os.stat(log).st_mode & 0o777 == 0o600
    finally:
        os.kill(int(pid), signal.SIGKILL)


def test_lines_are_read_until_one_is_the_last() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\nstop\nnever\n")
    seen: list[str] = []

    def line(text: str) -> bool:
        seen.append(text)
        return text == "stop"

    assert read_lines(reading, timeout=5, line=line)
    assert seen == ["one", "two", "stop"]
    os.close(writing)
    assert not read_lines(reading, timeout=5, line=line)
    os.close(reading)


def test_silence_ends_in_a_timeout() -> None:
    reading, writing = os.pipe()
    with pytest.raises(TimeoutError):
        read_lines(reading, timeout=0.05, line=lambda _: True)
    os.close(reading)
    os.close(writing)


def test_the_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "missing") == []

"""Processes of a node: found by their mount namespace, ended for sure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvtui.lab.processes import end_processes, processes_in

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
OBEDIENT = "import signal; print('up', flush=True); signal.pause()"


@pytest.fixture(params=[OBEDIENT, STUBBORN], ids=["obedient", "stubborn"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", request.param], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


def test_processes_are_gone_afterwards(process: subprocess.Popen[str]) -> None:
    end_processes([process.pid], grace=0.2)
    assert process.wait(0) < 0


def test_a_process_that_has_ended_already_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    end_processes([process.pid], grace=0.1)


def test_a_namespace_knows_its_processes() -> None:
    assert os.getpid() in processes_in(Path("/proc/self/ns/mnt"))


def test_a_namespace_that_is_not_there_has_none() -> None:
    assert processes_in(Path("/nonexistent/mnt")) == []

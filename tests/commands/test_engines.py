"""`kvtui lab` and `kvtui local` from outside: the contract that scripts rely on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kvtui() -> Run:
    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kvtui", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def data(tmp_path: Path, kvtui: Run) -> Iterator[Path]:
    """Where a lab may live; whatever is left there is stopped."""
    place = tmp_path / "lab"
    yield place
    kvtui("lab", "stop", "--data", str(place), check=False)


def status(kvtui: Run, data: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(kvtui("lab", "status", "-o", "json", "--data", str(data), check=False).stdout)
    return state


def test_a_lab_without_nodes_starts_twice_restarts_and_leaves_nothing(kvtui: Run, data: Path, tmp_path: Path) -> None:
    started = kvtui("lab", "start", "--nodes", "0", "--data", str(data))
    assert started.stdout == ""
    assert "ready" in started.stderr
    state = status(kvtui, data)
    assert (state["state"], state["nodes"], state["hostAddress"]) == ("Running", [], "127.0.0.1")

    path = Path(kvtui("lab", "kubeconfig", "--data", str(data)).stdout.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    assert "kvtui-local" in kvtui("get", "storageclasses", "-o", "name", "--data", str(data)).stdout

    again = kvtui("lab", "start", "--data", str(data))
    assert "runs already" in again.stderr
    assert status(kvtui, data)["supervisor"] == state["supervisor"]
    assert os.getsid(state["supervisor"]) != os.getsid(0)

    # Everything is killed at once, as by a crash: the next start finds the same engine with the same address.
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default}\n")
    kvtui("apply", "-f", str(manifest), "--data", str(data))
    for pid in [state["supervisor"], *(p["pid"] for p in state["processes"])]:
        os.kill(pid, signal.SIGKILL)
    assert status(kvtui, data)["state"] == "Stopped"
    kvtui("lab", "start", "--data", str(data))
    restarted = status(kvtui, data)
    assert (restarted["state"], restarted["server"]) == ("Running", state["server"])
    assert "kept" in kvtui("get", "configmaps", "-o", "name", "--data", str(data)).stdout

    pids = [restarted["supervisor"], *(p["pid"] for p in restarted["processes"])]
    kvtui("lab", "stop", "--data", str(data))
    assert not data.exists()
    assert not [pid for pid in pids if alive(pid)]
    assert "no lab" in kvtui("lab", "stop", "--data", str(data)).stderr


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_files_of_others_in_the_directory_stay(kvtui: Run, data: Path) -> None:
    data.mkdir()
    (data / "mine.txt").write_text("keep")
    (data / "lab.json").write_text('{"nodes": 0, "network": "10.150.0.0/16"}')
    kvtui("lab", "stop", "--data", str(data))
    assert sorted(p.name for p in data.iterdir()) == ["mine.txt"]


def test_a_port_in_use_is_refused_before_anything_is_made(kvtui: Run, data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = kvtui("lab", "start", "--nodes", "0", "--port", str(port), "--data", str(data), check=False)
    assert refused.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in refused.stderr
    assert status(kvtui, data)["state"] == "Stopped"


def test_an_engine_that_cannot_start_says_why_and_leaves_no_process(kvtui: Run, data: Path) -> None:
    (data / "apiserver" / "state.db").mkdir(parents=True)
    failed = kvtui("lab", "start", "--nodes", "0", "--data", str(data), check=False)
    assert failed.returncode == 1
    assert "apiserver does not start" in failed.stderr
    state = status(kvtui, data)
    assert state["state"] == "Stopped"
    assert not any(p["running"] for p in state["processes"])


def test_status_of_nothing_is_stopped_with_a_failing_exit_status(kvtui: Run, tmp_path: Path) -> None:
    done = kvtui("local", "status", "-o", "json", "--data", str(tmp_path / "none"), check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "Stopped"


def test_the_kubeconfig_of_nothing_is_a_usage_error(kvtui: Run, tmp_path: Path) -> None:
    done = kvtui("local", "kubeconfig", "--data", str(tmp_path / "none"), check=False)
    assert done.returncode == 2
    assert "kvtui local start" in done.stderr


def test_a_lab_is_not_stopped_as_a_local_engine(kvtui: Run, tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text('{"kind": "lab", "port": 1, "hostAddress": "127.0.0.1"}')
    done = kvtui("local", "stop", "--data", str(tmp_path), check=False)
    assert done.returncode == 2
    assert "kvtui lab stop" in done.stderr

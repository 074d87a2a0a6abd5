"""Sandboxes with real CNI plugins, in namespaces that the test makes; needs root and the plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kvtui.node.network.cni import PLUGIN_DIRS

INSIDE = Path(__file__).parent


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root"),
    pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq-base is not installed"),
    pytest.mark.skipif(not any(Path(d, "bridge").exists() for d in PLUGIN_DIRS), reason="no CNI plugins are installed"),
]


def inside(tmp_path: Path, file: str, *options: str, timeout: float = 240, **environment: str) -> None:
    """Runs the tests of a file in a network and a mount namespace of their own."""
    script = 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec "$@"'
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", str(INSIDE / file), *options]
    result = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", script, "sh", *command, f"--basetemp={tmp_path / 'inside'}"],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    "file", ["inside_namespace.py", "inside_rules.py", "inside_bindings.py", "inside_leftovers.py"]
)
def test_sandboxes_in_a_namespace_of_their_own(tmp_path: Path, file: str) -> None:
    inside(tmp_path, file)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_two_hundred_sandboxes_come_and_go(tmp_path: Path) -> None:
    inside(tmp_path, "inside_bindings.py", "-k", "leaks", "--timeout=1700", timeout=1750, KVTUI_NETWORK_CYCLES="100")

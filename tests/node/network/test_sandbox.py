"""Sandboxes with real CNI plugins, in namespaces that the test makes; needs root and the plugins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent


@pytest.mark.e2e
@pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")
@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq-base is not installed")
@pytest.mark.parametrize("file", ["inside_namespace.py", "inside_rules.py", "inside_bindings.py"])
def test_sandboxes_in_a_namespace_of_their_own(tmp_path: Path, file: str) -> None:
    script = 'mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec "$@"'
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "", str(INSIDE / file)]
    result = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", script, "sh", *command, f"--basetemp={tmp_path / 'inside'}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr

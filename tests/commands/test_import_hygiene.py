"""Heavy modules wait until a command needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("textual", "rich", "libvirt", "kubernetes_asyncio", "cryptography")


@pytest.mark.parametrize("args", [["get", "--help"], ["start", "--help"], ["console", "--help"], ["--help"]])
def test_a_verb_loads_no_heavy_module(args: list[str]) -> None:
    code = (
        "import sys\n"
        "from kvtui.cli import cli\n"
        f"cli.main({args!r}, standalone_mode=False)\n"
        f"sys.exit(' '.join(m for m in {HEAVY!r} if m in sys.modules) or None)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

"""Heavy modules wait until a command needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

VERBS = (
    "",
    *("get", "describe", "watch", "top vm", "events", "logs", "guestosinfo", "objectgraph", "permitted-devices"),
    *(
        "apply",
        "diff",
        "edit",
        "label",
        "scale",
        "delete",
        "create vm",
        "create instancetype",
        "create clone",
        "expand",
    ),
    *("start", "stop", "pause", "migrate", "drain", "cordon", "addvolume", "removevolume", "image-upload"),
    *("vmexport download", "memory-dump get", "credentials add-ssh-key", "console", "vnc", "ssh", "scp"),
    *("port-forward", "usbredir", "domain-xml", "adm log-verbosity", "version", "completion"),
)
HEAVY = ("textual", "rich", "libvirt", "kubernetes_asyncio", "cryptography")


@pytest.mark.parametrize("args", [[*verb.split(), "--help"] for verb in VERBS])
def test_a_verb_loads_no_heavy_module(args: list[str]) -> None:
    code = (
        "import sys\n"
        "from kvtui.cli import cli\n"
        f"cli.main({args!r}, standalone_mode=False)\n"
        f"sys.exit(' '.join(m for m in {HEAVY!r} if m in sys.modules) or None)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

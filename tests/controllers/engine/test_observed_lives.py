"""The life cycles of VMs are those that were observed of upstream: every step, every event.

The replaying program plays the node agent over the wire. All of them take several minutes, so without KVTUI_SHARED
set only a few run.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.controllers.plane import control_plane
from tests.controllers.shared import SHARED, needs

GROUPS = (
    *("Always", "RerunOnFailure", "Manual", "Halted", "Once", "True", "False"),
    *("start paused", "edit", "force", "dry-run", "migrate", "VMI of"),
)
QUICK = ("start paused", "edit and take back", "dry-run")
CHOSEN: tuple[str, ...] = GROUPS if os.environ.get("KVTUI_SHARED") else QUICK


@needs("data", "lifecycle-cases", "cases.jsonl")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", CHOSEN)
async def test_lives_are_as_observed(tmp_path: Path, group: str) -> None:
    async with control_plane(tmp_path) as plane:
        replay = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SHARED / "tools" / "lifecycle_check.py"),
            str(plane.server.kubeconfig),
            str(SHARED / "data" / "lifecycle-cases" / "cases.jsonl"),
            "--only",
            group,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await replay.communicate()
        assert replay.returncode == 0, output.decode()

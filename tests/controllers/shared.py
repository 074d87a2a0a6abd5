"""Observed answers that tests compare with; they are kept beside the repository."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("KVTUI_SHARED", Path(__file__).parents[3] / "shared"))


def observed(*path: str) -> list[dict[str, Any]]:
    """The lines of a file of cases; none where it is absent."""
    file = SHARED.joinpath(*path)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def needs(*path: str) -> pytest.MarkDecorator:
    file = SHARED.joinpath(*path)
    return pytest.mark.skipif(not file.exists(), reason=f"there are no observed answers at {file}: set KVTUI_SHARED")

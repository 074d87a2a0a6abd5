"""Go's notation of durations: 1h, 1m30s."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def seconds_of(duration: str | None, default: float) -> float:
    """Seconds; the default where there is no duration, or none that can be read."""
    parts = _PART.findall(duration or "")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else default

"""Durations in objects that were stored before anybody checked them."""

from __future__ import annotations

from kvtui.api import times


def seconds_of(duration: str | None, default: float) -> float:
    """Seconds; the default where there is no duration, or none that can be read."""
    try:
        return times.seconds_of(duration) if duration else default
    except ValueError:
        return default

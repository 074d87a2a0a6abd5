"""Times on the wire: RFC 3339 in UTC, whole seconds (MicroTime: microseconds); durations in Go's notation.

Source: k8s.io/apimachinery/pkg/apis/meta/v1.Time, v1.Duration; https://pkg.go.dev/time#ParseDuration.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_PART = r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
_DURATION = re.compile(rf"[-+]?(?:{_PART})+", re.ASCII)
_PARTS = re.compile(_PART, re.ASCII)
_SECONDS = {
    "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as 1h30m or 250ms; "0" needs no unit. Raises ValueError."""
    if duration.lstrip("+-") == "0":
        return 0.0
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"{duration!r} is not a duration")
    total = sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(duration))
    return -total if duration.startswith("-") else total


def to_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_time(text: str) -> datetime:
    """Raises ValueError."""
    return datetime.fromisoformat(text).astimezone(UTC)


def short_duration(seconds: float) -> str:
    """As kubectl prints ages: 45s, 5m, 3h20m, 4d2h, 2y10d.

    Source: k8s.io/apimachinery/pkg/util/duration.HumanDuration.
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"

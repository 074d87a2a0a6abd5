"""Times on the wire: RFC 3339 in UTC, whole seconds (MicroTime: microseconds).

Source: k8s.io/apimachinery/pkg/apis/meta/v1.Time.
"""

from __future__ import annotations

from datetime import UTC, datetime


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

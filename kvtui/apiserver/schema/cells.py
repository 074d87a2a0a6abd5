"""Parts of table cells that several kinds share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kvtui.api.times import from_time, short_duration

Object = dict[str, Any]

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a built-in kind. `wide` ones are shown on request only."""

    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    wide: bool = False

    def wire(self) -> Object:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or f"{self.name} of the object.",
            "priority": int(self.wide),
        }


def meta(obj: Object) -> Object:
    metadata: Object = obj.get("metadata") or {}
    return metadata


def spec(obj: Object) -> Object:
    part: Object = obj.get("spec") or {}
    return part


def status(obj: Object) -> Object:
    part: Object = obj.get("status") or {}
    return part


def moment(text: Any) -> datetime | None:
    """The time that a field holds, if it does."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return from_time(text)
    except ValueError:
        return None


def age(text: Any, now: datetime) -> str:
    """How long ago a time was, short: 5m, 3d4h."""
    then = moment(text)
    return short_duration((now - then).total_seconds()) if then else UNKNOWN


def created(obj: Object, now: datetime) -> str:
    return age(meta(obj).get("creationTimestamp"), now)


def condition(obj: Object, type_: str) -> str:
    """Status of a condition, or nothing."""
    conditions = status(obj).get("conditions") or []
    return next((c.get("status", "") for c in conditions if c.get("type") == type_), "")


def access_modes(modes: list[str] | None) -> str:
    present = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in present)


def selector(wire: Object | None) -> str:
    """A metav1.LabelSelector in one line."""
    if wire is None:
        return NONE
    terms = [f"{k}={v}" for k, v in sorted((wire.get("matchLabels") or {}).items())]
    for expression in wire.get("matchExpressions") or ():
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or ()))
        terms.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }.get(expression.get("operator", ""), key)
        )
    return ",".join(terms) or NONE


def pairs(labels: Object | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def images(template: Object) -> tuple[str, str]:
    """Names and images of the containers of a Pod template."""
    containers = spec(template).get("containers") or []
    return ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)

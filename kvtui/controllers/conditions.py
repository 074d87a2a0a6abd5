"""Conditions of KubeVirt's kinds: found by type, changed only when status or reason changes.

Source: kubevirt pkg/controller/conditions.go (UpdateCondition); control plane facts 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from kvtui.api.times import to_time


class AnyCondition(Protocol):
    """What conditions of all kinds have in common."""

    @property
    def type(self) -> str: ...

    @property
    def status(self) -> str: ...

    @property
    def reason(self) -> str | None: ...

    @property
    def message(self) -> str | None: ...


C = TypeVar("C", bound=AnyCondition)


def find(conditions: Iterable[C], type_: str) -> C | None:
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[AnyCondition], type_: str) -> bool:
    return status_of(conditions, type_) == "True"


def is_false(conditions: Iterable[AnyCondition], type_: str) -> bool:
    return status_of(conditions, type_) == "False"


def status_of(conditions: Iterable[AnyCondition], type_: str) -> str:
    """True, False, Unknown, or "" where there is none."""
    return next((c.status for c in conditions if c.type == type_), "")


def without(conditions: Sequence[C], *types: str) -> list[C]:
    return [c for c in conditions if c.type not in types]


def put(conditions: Sequence[C], condition: C) -> list[C]:
    """With this condition; the present one stays as it is unless status or reason differ."""
    present = find(conditions, condition.type)
    if present is None:
        return [*conditions, condition]
    if present.status == condition.status and (present.reason or "") == (condition.reason or ""):
        return list(conditions)
    return [condition if c.type == condition.type else c for c in conditions]


def make(class_: type[C], type_: str, status: str, reason: str = "", message: str = "", *, now: datetime) -> C:
    fields: dict[str, Any] = {
        "type": type_,
        "status": status,
        "reason": reason or None,
        "message": message or None,
        "last_transition_time": to_time(now),
    }
    return class_(**fields)

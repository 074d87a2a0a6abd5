"""What a rule finds: causes with field paths, and the refusals that carry them.

Source: control plane admission, response shape: 422 with at most ten causes, 400 with a message only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.admission import Denied
from kvtui.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT = 10
"""Causes that one answer carries; further ones are only counted."""


class Path(str):
    """A field path as Kubernetes prints it: spec.disks[0].name."""

    __slots__ = ()

    def child(self, *names: str) -> Path:
        return Path(".".join((self, *names))) if self else Path(".".join(names))

    def item(self, position: int) -> Path:
        return Path(f"{self}[{position}]")


def invalid(message: str, field: str = "") -> Cause:
    return Cause("FieldValueInvalid", message, str(field))


def required(message: str, field: str = "") -> Cause:
    return Cause("FieldValueRequired", message, str(field))


def not_supported(message: str, field: str = "") -> Cause:
    return Cause("FieldValueNotSupported", message, str(field))


def duplicate(message: str, field: str = "") -> Cause:
    return Cause("FieldValueDuplicate", message, str(field))


def not_found(message: str, field: str = "") -> Cause:
    return Cause("FieldValueNotFound", message, str(field))


def forbidden(message: str, field: str = "") -> Cause:
    return Cause("FieldValueForbidden", message, str(field))


def refusal(causes: Iterable[Cause]) -> Denied | None:
    """422 Invalid naming the causes, or None when there are none."""
    found = list(causes)
    if not found:
        return None
    shown = found[:LIMIT]
    message = ", ".join(cause.message for cause in shown)
    if len(found) > LIMIT:
        message += f", and {len(found) - LIMIT} more validation errors"
    return Denied(message, code=422, reason="Invalid", causes=tuple(shown))


def refuse(causes: Iterable[Cause]) -> None:
    """Raises Denied when there is at least one cause."""
    denied = refusal(causes)
    if denied is not None:
        raise denied


def bad_request(message: str) -> Denied:
    """400 with a message and nothing else: a decode error, a missing object, a wrong state."""
    return Denied(message, code=400, reason="")

"""Errors, named by what the caller does next.

KvtuiError
├── Transient            try again later, with back-off
│   ├── Unreachable      no answer from the server, libvirt or a node
│   ├── Conflict         409: read again, then decide again
│   ├── TooManyRequests  429: wait `retry_after` seconds
│   └── Expired          410: the revision is gone; list again
└── Permanent            set a condition and wait for a new spec; trying again changes nothing
    ├── NotFound         404
    ├── AlreadyExists    409 on create
    ├── Invalid          422 or 400: `causes` names fields
    ├── InvalidObject    data that does not have the shape of its type
    ├── Forbidden        401 or 403
    ├── Unsupported      this engine, node or host cannot do that, and says why
    └── Usage            the command line was wrong
"""

from __future__ import annotations

from dataclasses import dataclass


class KvtuiError(Exception):
    hint = ""
    """What the user can do; shown under the message in the TUI and the CLI."""

    def __init__(self, message: str = "", *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class Transient(KvtuiError):
    """Requeue with back-off."""


class Permanent(KvtuiError):
    """Set a condition, wait for a new spec."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One entry of Status.details.causes."""

    reason: str = ""
    message: str = ""
    field: str = ""


class ApiError(KvtuiError):
    """What an API server answered: its Status. Mixed into the classes below, so catch those."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        kind: str = "",
        name: str = "",
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.reason = reason
        self.causes = causes
        self.kind = kind
        self.name = name
        self.retry_after = retry_after
        """Seconds, when the server said so."""


class Unreachable(Transient):
    hint = "is the engine running? `kvtui local status` tells"


class Conflict(ApiError, Transient):
    """409 Conflict: the object changed meanwhile."""


class TooManyRequests(ApiError, Transient):
    """429, also an eviction that a disruption budget refuses."""


class Expired(ApiError, Transient):
    """410 Gone or Expired."""


class ServerError(ApiError, Transient):
    """5xx."""


class NotFound(ApiError, Permanent):
    """404."""


class AlreadyExists(ApiError, Permanent):
    """409 AlreadyExists."""


class Invalid(ApiError, Permanent):
    """400, 413, 415 or 422: the request itself is wrong."""


class Forbidden(ApiError, Permanent):
    """401 or 403."""


class InvalidObject(Permanent):
    """Data that does not have the shape of its type."""


class InvalidQuantity(Permanent):
    """Not a Kubernetes quantity."""


class InvalidSelector(Permanent):
    """Not a label or field selector."""


class Unsupported(Permanent):
    """This engine, node or host cannot do that; the message says why."""


class Usage(Permanent):
    """The command line was wrong."""

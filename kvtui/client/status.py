"""What a server answered instead of success: its Status, as one of our errors.

Source: k8s.io/apimachinery/pkg/api/errors.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kvtui.api.meta import Status, StatusDetails
from kvtui.api.wire import from_json
from kvtui.errors import (
    AlreadyExists,
    ApiError,
    Cause,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    InvalidObject,
    NotFound,
    ServerError,
    TooManyRequests,
)


def error_of(code: int, body: bytes, headers: Mapping[str, str] | None = None) -> ApiError:
    """The error for an HTTP answer of 400 and above. A body that is no Status becomes the message."""
    try:
        status = from_json(body, Status)
    except (InvalidObject, msgspec.DecodeError):
        status = Status()
    if status.kind != "Status" or not (status.message or status.reason):
        text = body.decode("utf-8", "replace").strip()[:500]
        status = Status(message=text or f"the server answered {code}", code=code)
    return from_status(status, code, headers)


def from_status(status: Status, code: int = 0, headers: Mapping[str, str] | None = None) -> ApiError:
    """The error for a Status, also one that came as an event of a watch."""
    code = code or status.code
    details = status.details or StatusDetails()
    retry = (headers or {}).get("Retry-After", "")
    retry_after = float(retry) if retry.isdigit() else float(details.retry_after_seconds) or None
    return _class_of(code, status.reason)(
        status.message,
        code=code,
        reason=status.reason,
        causes=tuple(Cause(c.reason, c.message, c.field) for c in details.causes),
        kind=details.kind,
        name=details.name,
        retry_after=retry_after,
    )


def _class_of(code: int, reason: str) -> type[ApiError]:
    if reason == "AlreadyExists":
        return AlreadyExists
    if code == 504 and reason == "Timeout":
        return ServerError
    match code:
        case 401 | 403:
            return Forbidden
        case 404:
            return NotFound
        case 409:
            return Conflict
        case 410:
            return Expired
        case 429:
            return TooManyRequests
        case _ if code >= 500:
            return ServerError
        case _:
            return Invalid

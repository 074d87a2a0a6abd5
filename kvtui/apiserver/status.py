"""Status bodies: every way in which the server says no, in the words that clients branch on.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/,
k8s.io/apimachinery/pkg/api/errors, k8s.io/apimachinery/pkg/util/validation/field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvtui.errors import Cause, KvtuiError

MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request body."""


class Failure(KvtuiError):
    """An answer that is not success; `body()` is its Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        name: str = "",
        group: str = "",
        kind: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after: int = 0,
        continue_token: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.name = name
        self.group = group
        self.kind = kind
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after = retry_after
        self.continue_token = continue_token

    def body(self) -> dict[str, Any]:
        """The Status as JSON value."""
        named = (("name", self.name), ("group", self.group), ("kind", self.kind), ("uid", self.uid))
        details: dict[str, Any] = {key: value for key, value in named if value}
        if self.causes:
            details["causes"] = [
                {k: v for k, v in (("reason", c.reason), ("message", c.message), ("field", c.field)) if v}
                for c in self.causes
            ]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if details:
            body["details"] = details
        body["code"] = self.code
        return body


def qualified(plural: str, group: str) -> str:
    """`vms.kubevirt.io`, or `pods` in the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> Failure:
    return Failure(
        404, "NotFound", f'{qualified(plural, group)} "{name}" not found', name=name, group=group, kind=plural
    )


def no_such_path() -> Failure:
    return Failure(404, "NotFound", "the server could not find the requested resource")


def already_exists(group: str, plural: str, name: str) -> Failure:
    return Failure(
        409, "AlreadyExists", f'{qualified(plural, group)} "{name}" already exists', name=name, group=group, kind=plural
    )


def name_clash(group: str, plural: str, name: str) -> Failure:
    return Failure(
        409,
        "AlreadyExists",
        f'{qualified(plural, group)} "{name}" already exists, the server was not able to generate a unique name '
        "for the object",
        name=name,
        group=group,
        kind=plural,
        retry_after=1,
    )


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(group: str, plural: str, name: str, detail: str = MODIFIED, causes: Sequence[Cause] = ()) -> Failure:
    return Failure(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {detail}',
        name=name,
        group=group,
        kind=plural,
        causes=causes,
    )


def uid_mismatch(group: str, plural: str, name: str, wanted: str, found: str) -> Failure:
    return conflict(
        group,
        plural,
        name,
        f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
    )


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> Failure:
    texts = [f"{c.field}: {c.message}" if c.field else c.message for c in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    return Failure(
        422,
        "Invalid",
        f'{qualified(kind, group)} "{name}" is invalid: {joined}',
        name=name,
        group=group,
        kind=kind,
        causes=causes,
    )


def invalid_options(message: str) -> Failure:
    """A query parameter or an options body that makes no sense (422)."""
    return Failure(422, "Invalid", message)


def bad_request(message: str) -> Failure:
    return Failure(400, "BadRequest", message)


def unauthorized() -> Failure:
    return Failure(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, detail: str, causes: Sequence[Cause] = ()) -> Failure:
    what = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    return Failure(
        403, "Forbidden", f"{what} is forbidden: {detail}", name=name, group=group, kind=plural, causes=causes
    )


def forbidden_path(user: str, verb: str, path: str) -> Failure:
    return Failure(403, "Forbidden", f'forbidden: User "{user}" cannot {verb} path "{path}"')


def expired(message: str, continue_token: str = "") -> Failure:
    return Failure(410, "Expired", message, continue_token=continue_token)


def too_old(wanted: int, oldest: int) -> Failure:
    return expired(f"too old resource version: {wanted} ({oldest})")


def too_large_revision(wanted: int, current: int) -> Failure:
    return Failure(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
        retry_after=1,
    )


def too_many_requests(message: str = "too many requests, please try again later") -> Failure:
    return Failure(429, "TooManyRequests", message, retry_after=1)


def unavailable(message: str) -> Failure:
    return Failure(503, "ServiceUnavailable", message, retry_after=1)


def out_of_space(message: str) -> Failure:
    return Failure(507, "InsufficientStorage", message, retry_after=10)


def method_not_allowed(group: str, plural: str, verb: str) -> Failure:
    return Failure(
        405,
        "MethodNotAllowed",
        f'{verb} is not supported on resources of kind "{qualified(plural, group)}"',
        group=group,
        kind=plural,
    )


def unsupported_media_type(accepted: Sequence[str] = MEDIA_TYPES) -> Failure:
    return Failure(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def not_acceptable(accepted: Sequence[str] = MEDIA_TYPES) -> Failure:
    return Failure(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(accepted))


def too_large(limit: int = MAX_BODY) -> Failure:
    return Failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def deadline() -> Failure:
    return Failure(
        504,
        "Timeout",
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
    )


def internal(message: str) -> Failure:
    return Failure(500, "InternalError", f"Internal error occurred: {message}", causes=(Cause(message=message),))


def success(*, name: str, group: str, kind: str, uid: str) -> dict[str, Any]:
    """The Status of a finished deletion."""
    details = {k: v for k, v in (("name", name), ("group", group), ("kind", kind), ("uid", uid)) if v}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid_value(field: str, value: object, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {detail}", field)


def invalid_value_raw(field: str, shown: str, detail: str) -> Cause:
    """With a value that is already spelled out."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {detail}", field)


def not_supported(field: str, value: object, supported: Sequence[str]) -> Cause:
    listed = ", ".join(f'"{s}"' for s in supported)
    return Cause("FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {listed}", field)


def duplicate(field: str, value: object) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", field)


def forbidden_field(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def show(value: object) -> str:
    """A value as Go's field errors print it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    import msgspec

    return msgspec.json.encode(value).decode()

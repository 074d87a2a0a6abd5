"""What a subresource answers instead of success.

Source: control plane facts 6.1; k8s.io/apimachinery/pkg/api/errors with kubevirt's singular, lower-case kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvtui.errors import ApiError, Cause, Conflict, KvtuiError

GROUP = "kubevirt.io"
VM, VMI = "virtualmachine", "virtualmachineinstance"
TEST_FAILED = "jsonpatch test operation does not apply"
"""How KubeVirt recognizes that somebody else was quicker."""
PATCH_REFUSED = "the server rejected our request due to an error in our request"
"""What an API server makes of that; our patches are sound otherwise, so it means the same."""


class Refused(KvtuiError):
    """A Status."""

    def __init__(
        self, code: int, reason: str, message: str, *, kind: str = "", name: str = "", causes: Sequence[Cause] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.kind = kind
        self.name = name
        self.causes = tuple(causes)

    @property
    def status(self) -> dict[str, Any]:
        """As JSON, with its kind and version, which every client looks for."""
        details: dict[str, Any] = {}
        if self.kind:
            details = {"name": self.name, "group": GROUP, "kind": self.kind}
        if self.causes:
            details["causes"] = [_cause(cause) for cause in self.causes]
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }
        return body | ({"details": details} if details else {})


def _cause(cause: Cause) -> dict[str, str]:
    words = {"reason": cause.reason, "message": cause.message, "field": cause.field}
    return {name: text for name, text in words.items() if text}


class PlainRefusal(KvtuiError):
    """An error that upstream writes as bare text."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def bad_request(message: str, causes: Sequence[Cause] = ()) -> Refused:
    return Refused(400, "BadRequest", message, causes=causes)


def not_found(kind: str, name: str) -> Refused:
    return Refused(404, "NotFound", f'{kind}.{GROUP} "{name}" not found', kind=kind, name=name)


def conflict(kind: str, name: str, cause: str) -> Refused:
    message = f'Operation cannot be fulfilled on {kind}.{GROUP} "{name}": {cause}'
    return Refused(409, "Conflict", message, kind=kind, name=name)


def forbidden(kind: str, name: str, cause: str) -> Refused:
    return Refused(403, "Forbidden", f'{kind}.{GROUP} "{name}" is forbidden: {cause}', kind=kind, name=name)


def internal(cause: str) -> Refused:
    message = f"Internal error occurred: {cause}"
    return Refused(500, "InternalError", message, causes=[Cause("", cause)])


def of_patch(error: ApiError, kind: str, name: str) -> Refused:
    """A patch of ours that was refused: somebody was quicker, or the server has its reasons."""
    text = str(error)
    if isinstance(error, Conflict) or TEST_FAILED in text or PATCH_REFUSED in text:
        return conflict(kind, name, TEST_FAILED)
    if error.code == 422:
        return Refused(422, "Invalid", text, kind=kind, name=name, causes=error.causes)
    return internal(text)

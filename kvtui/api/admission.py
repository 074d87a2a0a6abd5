"""What admission is asked and what it answers: plain data that the API server and the rules share.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ (AdmissionReview),
k8s.io/apiserver/pkg/admission.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from kvtui.errors import Cause, KvtuiError

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who sends a request."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRequest:
    """One write (or CONNECT) that may be changed or refused. Objects are shared: never mutate them."""

    operation: Operation
    group: str
    version: str
    resource: str
    """Plural."""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    """Empty on create with generateName until the name is made."""
    object: dict[str, Any] | None = None
    """The object as it would be stored; None on DELETE."""
    old_object: dict[str, Any] | None = None
    """The stored object; None on CREATE."""
    user: UserInfo = UserInfo("")
    dry_run: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """CreateOptions, UpdateOptions, PatchOptions or DeleteOptions."""


class Denied(KvtuiError):
    """Admission refuses; becomes a Status with these fields."""

    def __init__(
        self,
        message: str,
        *,
        code: int = 403,
        reason: str = "Forbidden",
        causes: tuple[Cause, ...] = (),
        webhook: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = causes
        self.webhook = webhook
        """The webhook that speaks: the message then starts `admission webhook "<name>" denied the request: `."""
        self.retry_after = retry_after
        """Seconds."""


class Admission(Protocol):
    """Rules that see every write before it is stored."""

    async def mutate(self, request: AdmissionRequest) -> tuple[dict[str, Any], list[str]]:
        """The object to store in place of `request.object`, and warnings. Raises Denied."""

    async def validate(self, request: AdmissionRequest) -> list[str]:
        """Warnings. Raises Denied."""

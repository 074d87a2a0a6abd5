"""CertificateSigningRequests: they say who asks, and what is asked for never changes.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause

Object = dict[str, Any]
_ASKING = ("username", "uid", "groups", "extra")


class SigningRequests(Strategy):
    """Nothing in this server signs them: that is for a controller or a person."""

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        user = context.user
        asking: Object = {
            "username": user.username,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra.items()},
        }
        for key in _ASKING:
            spec.pop(key, None)
            if asking[key]:
                spec[key] = asking[key]

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        if old is not None:
            before = old.get("spec") or {}
            return [] if spec == before else [status.invalid_value("spec", spec, "field is immutable")]
        return [status.required(f"spec.{key}") for key in ("request", "signerName", "usages") if not spec.get(key)]

"""AdmissionReviews: the question that a webhook is sent, and the answer that is read from it.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.plugins.base import Object
from kvtui.apiserver.plugins.changing import foreign
from kvtui.apiserver.plugins.matching import user_info
from kvtui.apiserver.resources import ResourceInfo
from kvtui.errors import Cause

GROUP = "admission.k8s.io"
_KNOWN = ("v1", "v1beta1")
_LOWEST_ERROR = 400


class Malformed(Exception):
    """What came back is no answer to the question; the text says why."""


class _Cause(msgspec.Struct):
    reason: str | None = None
    message: str | None = None
    field: str | None = None


class _Details(msgspec.Struct, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: int | None = None


class _Status(msgspec.Struct):
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


class _Response(msgspec.Struct, rename="camel"):
    uid: str = ""
    allowed: bool = False
    status: _Status | None = None
    patch: str | None = None
    patch_type: str | None = None
    warnings: list[str] | None = None


class _Review(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    response: _Response | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook says."""

    allowed: bool
    patch: Any = None
    """Operations of a JSON patch, or None."""
    warnings: list[str] = field(default_factory=list)
    status: _Status | None = None

    def refusal(self, webhook: str) -> Denied:
        """The answer for the client."""
        status = self.status or _Status()
        given = status.code or 0
        code = given if given >= _LOWEST_ERROR else 403
        reason = status.reason or ("Forbidden" if code == 403 else "")
        details = status.details or _Details()
        causes = tuple(Cause(c.reason or "", c.message or "", c.field or "") for c in details.causes or ())
        more = {"code": code, "reason": reason, "causes": causes, "retry_after": details.retry_after_seconds or 0}
        if said := status.message or status.reason:
            return Denied(said, webhook=webhook, **more)  # type: ignore[arg-type]
        text = f'admission webhook "{webhook}" denied the request without explanation'
        return Denied(text, **more)  # type: ignore[arg-type]


def version_of(accepted: Any) -> str:
    """The first version of reviews that a webhook takes and the server knows."""
    return next((v for v in accepted or () if v in _KNOWN), _KNOWN[0])


def question(
    request: AdmissionRequest, info: ResourceInfo, matched: str, version: str, uid: str, objects: tuple[Any, Any]
) -> bytes:
    """`matched`: the version in which the webhook wants to see the resource; `objects`: new and old in that version."""
    sub = foreign(request, info)

    def kind(of: str) -> Object:
        if sub is not None:
            return {"group": sub.group, "version": sub.version, "kind": sub.kind}
        return {"group": request.group, "version": of, "kind": info.kind}

    def resource(of: str) -> Object:
        return {"group": request.group, "version": of, "resource": request.resource}

    options: Object = {"kind": f"{request.operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"}
    if request.dry_run:
        options["dryRun"] = ["All"]
    asked: Object = {
        "uid": uid,
        "kind": kind(matched),
        "resource": resource(matched),
        "requestKind": kind(request.version),
        "requestResource": resource(request.version),
        "name": request.name,
        "operation": request.operation,
        "userInfo": {key: value for key, value in user_info(request).items() if value},
        "object": objects[0],
        "oldObject": objects[1],
        "dryRun": request.dry_run,
        "options": request.options or options,
    }
    if request.namespace:
        asked["namespace"] = request.namespace
    if request.subresource:
        asked["subResource"] = asked["requestSubResource"] = request.subresource
    return msgspec.json.encode({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": asked})


def answer(body: bytes, version: str, uid: str, *, mutating: bool) -> Verdict:
    """Raises Malformed."""
    try:
        review = msgspec.json.decode(body, type=_Review)
    except msgspec.MsgspecError as error:
        raise Malformed(f"the answer is no AdmissionReview: {error}") from error
    response = review.response
    if response is None:
        raise Malformed("webhook response was absent")
    if version == "v1":
        if (review.api_version, review.kind) != (f"{GROUP}/v1", "AdmissionReview"):
            shown = f"{review.api_version}, Kind={review.kind}"
            raise Malformed(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {shown}")
        if response.uid != uid:
            raise Malformed(f'expected response.uid="{uid}", got "{response.uid}"')
    if response.patch and not mutating:
        raise Malformed("validating webhook may not return a patch")
    patch = _patch(response, version) if response.patch else None
    return Verdict(response.allowed, patch, list(response.warnings or ()), response.status)


def _patch(response: _Response, version: str) -> Any:
    if response.patch_type != "JSONPatch" and (version == "v1" or response.patch_type):
        raise Malformed(f'webhook returned a patch of the unknown type "{response.patch_type or ""}"')
    try:
        return msgspec.json.decode(base64.b64decode(response.patch or "", validate=True))
    except (binascii.Error, msgspec.MsgspecError) as error:
        raise Malformed(f"webhook returned a patch that cannot be read: {error}") from error

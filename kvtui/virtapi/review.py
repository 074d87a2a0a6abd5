"""virt-api's admission: its webhooks run in the embedded server, or are served as such to another one.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/.
"""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from kvtui.api.admission import AdmissionRequest, Denied, UserInfo
from kvtui.api.times import to_time
from kvtui.virtapi.admission import webhooks
from kvtui.virtapi.admission.call import Call, Chance
from kvtui.virtapi.admission.eviction import Evacuates
from kvtui.virtapi.admission.view import evaluate

if TYPE_CHECKING:
    from kvtui.virtapi.admission.view import ClusterView, Reader
    from kvtui.virtapi.admission.webhooks import Webhook

T = TypeVar("T")

PatchVmi = Callable[[str, str, list[dict[str, Any]], bool], Awaitable[None]]
"""Namespace, name, JSON patch, and whether to pretend only."""

_ALPHABET = string.ascii_lowercase + string.digits


def draw() -> Chance:
    """Fresh identities and the present time."""
    suffix = "".join(random.choices(_ALPHABET, k=5))  # noqa: S311 -- part of a name, no secret
    return Chance((str(uuid.uuid4()), str(uuid.uuid4())), suffix, to_time(datetime.now(UTC)))


class VirtAdmission:
    """Every rule of KubeVirt and CDI. Stateless but for what the reader keeps."""

    def __init__(
        self, reader: Reader, *, patch_vmi: PatchVmi | None = None, chance: Callable[[], Chance] = draw
    ) -> None:
        """`patch_vmi` marks instances that an eviction makes move; without it they are only refused."""
        self._reader = reader
        self._patch_vmi = patch_vmi
        self._chance = chance
        self.created: Counter[str] = Counter()
        """VMs that were allowed to be made, by namespace."""

    async def mutate(self, request: AdmissionRequest) -> tuple[dict[str, Any], list[str]]:
        """The object to store in place of `request.object`, and warnings. Raises Denied."""
        warnings: list[str] = []
        for webhook in webhooks.of(request):
            if webhook.mutate is not None:
                changed, added = await self._run(webhook, webhook.mutate, request)
                warnings += added
                request = replace(request, object=changed)
        return request.object or {}, warnings

    async def validate(self, request: AdmissionRequest) -> list[str]:
        """Warnings. Raises Denied."""
        warnings: list[str] = []
        for webhook in webhooks.of(request):
            if webhook.validate is not None:
                warnings += await self._run(webhook, webhook.validate, request)
        of_vms = (request.group, request.resource, request.subresource) == ("kubevirt.io", "virtualmachines", "")
        if of_vms and request.operation == "CREATE" and not request.dry_run:
            self.created[request.namespace] += 1
        return warnings

    async def _run(self, webhook: Webhook, rule: Callable[[Call, ClusterView], T], request: AdmissionRequest) -> T:
        call = Call(request, self._chance())
        try:
            return await evaluate(lambda view: rule(call, view), self._reader)
        except Evacuates as evacuates:
            if self._patch_vmi is not None:
                await self._patch_vmi(evacuates.namespace, evacuates.name, evacuates.patch, request.dry_run)
            raise named(evacuates, webhook) from evacuates
        except Denied as denied:
            raise named(denied, webhook) from denied


def named(denied: Denied, webhook: Webhook) -> Denied:
    """The refusal with the name under which it is shown to users."""
    return Denied(
        str(denied),
        code=denied.code,
        reason=denied.reason,
        causes=denied.causes,
        webhook=webhook.name,
        retry_after=denied.retry_after,
    )


def request_from(review: dict[str, Any]) -> AdmissionRequest:
    """The request in an AdmissionReview (admission.k8s.io/v1)."""
    asked = review.get("request") or {}
    resource, user = asked.get("resource") or {}, asked.get("userInfo") or {}
    return AdmissionRequest(
        operation=asked.get("operation") or "CREATE",
        group=resource.get("group") or "",
        version=resource.get("version") or "",
        resource=resource.get("resource") or "",
        subresource=asked.get("subResource") or "",
        namespace=asked.get("namespace") or "",
        name=asked.get("name") or "",
        object=asked.get("object"),
        old_object=asked.get("oldObject"),
        user=UserInfo(
            user.get("username") or "",
            user.get("uid") or "",
            tuple(user.get("groups") or ()),
            {key: list(values) for key, values in (user.get("extra") or {}).items()},
        ),
        dry_run=bool(asked.get("dryRun")),
        options=asked.get("options") or {},
    )


def allowed(review: dict[str, Any], changed: dict[str, Any] | None, warnings: list[str]) -> dict[str, Any]:
    """The AdmissionReview that lets the request pass; `changed` replaces the object unless it is None."""
    response: dict[str, Any] = {"uid": (review.get("request") or {}).get("uid") or "", "allowed": True}
    original = (review.get("request") or {}).get("object")
    if changed is not None and changed != original:
        patch = json.dumps(_difference(original or {}, changed)).encode()
        response |= {"patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
    return _answer(response, warnings)


def refused(review: dict[str, Any], denied: Denied, warnings: list[str] | None = None) -> dict[str, Any]:
    """The AdmissionReview that refuses. The API server itself adds the webhook's name."""
    status: dict[str, Any] = {"status": "Failure", "message": str(denied), "code": denied.code}
    if denied.reason:
        status["reason"] = denied.reason
    details: dict[str, Any] = {}
    if denied.causes:
        details["causes"] = [
            {
                name: text
                for name, text in (("reason", cause.reason), ("message", cause.message), ("field", cause.field))
                if text
            }
            for cause in denied.causes
        ]
    if denied.retry_after:
        details["retryAfterSeconds"] = denied.retry_after
    if details:
        status["details"] = details
    response = {"uid": (review.get("request") or {}).get("uid") or "", "allowed": False, "status": status}
    return _answer(response, warnings or [])


def _answer(response: dict[str, Any], warnings: list[str]) -> dict[str, Any]:
    if warnings:
        response["warnings"] = warnings
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def _difference(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """A JSON patch, at the depth of the members of spec, status and metadata."""
    patch: list[dict[str, Any]] = []
    for name in (*old, *(name for name in new if name not in old)):
        path, before, after = f"/{name}", old.get(name), new.get(name)
        if name not in new:
            patch.append({"op": "remove", "path": path})
        elif name in ("metadata", "spec", "status") and isinstance(before, dict) and isinstance(after, dict):
            patch += [{**step, "path": path + step["path"]} for step in _members(before, after)]
        elif before != after:
            patch.append({"op": "add", "path": path, "value": after})
    return patch


def _members(old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    def pointer(name: str) -> str:
        return "/" + name.replace("~", "~0").replace("/", "~1")

    patch: list[dict[str, Any]] = [{"op": "remove", "path": pointer(name)} for name in old if name not in new]
    return patch + [
        {"op": "add", "path": pointer(name), "value": value} for name, value in new.items() if old.get(name) != value
    ]

"""Admission webhooks: other programs that change or refuse what is written.

Changing ones are asked one after the other, by the names of their configurations, and again where they want that and
others have changed the object since; then the refusing ones, all at once. What the server itself writes is not asked
about, nor are the configurations.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, replace
from typing import Any

import structlog

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver import status
from kvtui.apiserver.bootstrap import SYSTEM
from kvtui.apiserver.patch import json_patch
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.plugins import webhook_review
from kvtui.apiserver.plugins.base import Object, Plugin
from kvtui.apiserver.plugins.changing import NotSound, shown, sound
from kvtui.apiserver.plugins.kept import Kept
from kvtui.apiserver.plugins.matching import Matching
from kvtui.apiserver.plugins.webhook_client import NotCalled, WebhookClient
from kvtui.apiserver.plugins.webhook_review import Malformed
from kvtui.apiserver.record import Record, encode
from kvtui.apiserver.resources import ResourceInfo, Resources
from kvtui.apiserver.store import Bucket, Store
from kvtui.errors import Cause

log = structlog.get_logger()
_GROUP = "admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class _Hook:
    """One webhook of a configuration."""

    name: str
    spec: Object
    conditions: tuple[tuple[str, Any], ...]
    """Names and compiled expressions."""

    @property
    def ignores_failures(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a webhook that lets a request pass wants changed."""

    info: ResourceInfo
    """In the version that it was shown."""
    patch: Any


class Webhooks(Plugin):
    """Asks the webhooks that a request concerns."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self._matching = Matching(store, resources)
        self._client = WebhookClient(store)
        self._mutating = store.bucket(f"mutatingwebhookconfigurations.{_GROUP}")
        self._validating = store.bucket(f"validatingwebhookconfigurations.{_GROUP}")
        self._hooks: Kept[tuple[_Hook, ...]] = Kept()

    async def close(self) -> None:
        await self._client.close()

    @property
    def idle(self) -> bool:
        return not self._mutating.records and not self._validating.records

    async def mutate(self, request: AdmissionRequest) -> tuple[Object, list[str]]:
        assert request.object is not None
        if not self._mutating.records or _is_exempt(request):
            return request.object, []
        info = self._matching.info(request)
        if info is None:
            return request.object, []
        warnings: list[str] = []
        left: dict[_Key, bytes] = {}
        """What each webhook left behind."""
        before = encode(request.object)
        for again in (False, True):
            for key, hook in self._all(self._mutating):
                if again and (
                    hook.spec.get("reinvocationPolicy") != "IfNeeded"
                    or key not in left
                    or left[key] == encode(request.object or {})
                ):
                    continue
                asked = await self._ask(hook, request, info, warnings, mutating=True)
                if asked is None:
                    continue
                if asked.patch:
                    request = replace(request, object=_patched(hook, request, asked.info, asked.patch))
                left[key] = encode(request.object or {})
            if before == encode(request.object or {}):
                break
        assert request.object is not None
        return request.object, warnings

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if _is_exempt(request):
            return []
        info = self._matching.info(request)
        if info is None:
            return []
        warnings: list[str] = []
        if request.operation == "DELETE":
            # There is nothing to change, but they may refuse.
            for _, hook in self._all(self._mutating):
                await self._ask(hook, request, info, warnings, mutating=True)
        said: list[list[str]] = []
        calls = []
        for _, hook in self._all(self._validating):
            said.append([])
            calls.append(self._ask(hook, request, info, said[-1], mutating=False))
        results = await asyncio.gather(*calls, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [*warnings, *(text for texts in said for text in texts)]

    def _all(self, bucket: Bucket) -> list[tuple[_Key, _Hook]]:
        """In their order."""
        return [
            ((record.name, index), hook)
            for record in sorted(bucket.snapshot(), key=lambda r: r.name)
            for index, hook in enumerate(self._of(bucket, record))
        ]

    def _of(self, bucket: Bucket, record: Record) -> tuple[_Hook, ...]:
        def made() -> tuple[_Hook, ...]:
            return tuple(_compile(each) for each in record.decode().get("webhooks") or ())

        return self._hooks.get((bucket.name, record.name, record.rv), made)

    async def _ask(
        self, hook: _Hook, request: AdmissionRequest, info: ResourceInfo, warnings: list[str], *, mutating: bool
    ) -> _Answer | None:
        """None when the request does not concern the webhook, or when its failure does not matter. Raises Denied."""
        matched = self._matching.version(hook.spec.get("rules") or (), hook.spec, request)
        if not matched or not self._matching.selects(hook.spec, request) or not self._holds(hook, request):
            return None
        accepted = webhook_review.version_of(hook.spec.get("admissionReviewVersions"))
        info = self._matching.info(replace(request, version=matched)) or info
        uid, objects = (
            str(uuid.uuid4()),
            (shown(request.object, request, info), shown(request.old_object, request, info)),
        )
        body = webhook_review.question(request, info, matched, accepted, uid, objects)
        seconds = float(hook.spec.get("timeoutSeconds") or 10)
        try:
            got = await self._client.post(hook.spec.get("clientConfig") or {}, body, seconds)
            verdict = webhook_review.answer(got, accepted, uid, mutating=mutating)
        except (NotCalled, Malformed) as error:
            if hook.ignores_failures:
                log.info("webhook failed, which is ignored", webhook=hook.name, error=str(error))
                return None
            raise _failed(f'failed calling webhook "{hook.name}": {error}') from error
        warnings.extend(verdict.warnings)
        if not verdict.allowed:
            raise verdict.refusal(hook.name)
        return _Answer(info, verdict.patch)

    def _holds(self, hook: _Hook, request: AdmissionRequest) -> bool:
        """Whether all its conditions hold. Raises Denied when one cannot be computed and failures matter."""
        if not hook.conditions:
            return True
        from kvtui.apiserver.schema.cel_policy import NotEvaluated

        data = self._matching.data(request)
        failure = ""
        for name, expression in hook.conditions:
            try:
                if not expression.holds(data):
                    return False
            except NotEvaluated as error:
                failure = failure or f"match condition '{name}' of webhook '{hook.name}' resulted in error: {error}"
        if failure and not hook.ignores_failures:
            resource = status.qualified(request.resource, request.group)
            raise Denied(f'{resource} "{request.name}" is forbidden: {failure}')
        return not failure


_Key = tuple[str, int]


def _is_exempt(request: AdmissionRequest) -> bool:
    return request.group == _GROUP or request.user.username == SYSTEM.username


def _compile(spec: Object) -> _Hook:
    """Expressions were compiled when the configuration was written, so they compile now."""
    conditions: list[tuple[str, Any]] = []
    if spec.get("matchConditions"):
        from kvtui.apiserver.schema.cel_policy import compile_expression

        conditions = [(str(c["name"]), compile_expression(str(c["expression"]))) for c in spec["matchConditions"]]
    return _Hook(str(spec.get("name") or ""), spec, tuple(conditions))


def _patched(hook: _Hook, request: AdmissionRequest, info: ResourceInfo, operations: Any) -> Object:
    """Raises Denied for a patch that cannot be applied, or that makes another object of it."""
    before = shown(request.object, request, info)
    assert before is not None
    try:
        return sound(before, json_patch.apply(before, operations), request, info)
    except PatchError as error:
        raise _failed(f'the patch of webhook "{hook.name}" cannot be applied: {error}') from error
    except NotSound as error:
        raise _failed(f'the patch of webhook "{hook.name}" {error}') from error


def _failed(text: str) -> Denied:
    return Denied(f"Internal error occurred: {text}", code=500, reason="InternalError", causes=(Cause(message=text),))

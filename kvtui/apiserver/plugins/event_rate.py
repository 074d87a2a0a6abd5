"""Nobody floods the server with Events: each source has a budget per object, each namespace one in all.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#eventratelimit.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.plugins.base import Object, Plugin

_REMEMBERED = 4096
"""Budgets that are kept; one that is forgotten is a full one."""


class Budgets:
    """A token bucket for each key."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        """`rate` in events per second."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[object, tuple[float, float]] = OrderedDict()

    def take(self, key: object) -> bool:
        now = self._clock()
        left, since = self._left.pop(key, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)
        return left >= 1


class EventRate(Plugin):
    """Refuses with 429 what goes beyond; clients come again."""

    resources = frozenset((("", "events"), ("events.k8s.io", "events")))

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._of_objects = Budgets(10, 100, clock)
        self._of_namespaces = Budgets(500, 5000, clock)

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.object is None or request.dry_run:
            return []
        source = _source(request.object)
        if not self._of_objects.take((request.namespace, *source)):
            raise _denied("SourceAndObject", "/".join(filter(None, source)))
        if not self._of_namespaces.take(request.namespace):
            raise _denied("Namespace", request.namespace)
        return []


def _source(event: Object) -> tuple[str, ...]:
    source = event.get("source") or {}
    about = event.get("involvedObject") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return (component, host, about.get("kind") or "", about.get("namespace") or "", about.get("name") or "")


def _denied(kind: str, key: str) -> Denied:
    return Denied(f"limit reached on type {kind} for key {key}", code=429, reason="TooManyRequests", retry_after=1)

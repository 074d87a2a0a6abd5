"""Pods: priority by class, service account, limit ranges.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/ (Priority, ServiceAccount,
LimitRanger), https://kubernetes.io/docs/concepts/policy/limit-range/.
"""

from __future__ import annotations

from fractions import Fraction

from kvtui.api import quantity
from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver import names
from kvtui.apiserver.plugins.base import Object, Plugin, spec
from kvtui.apiserver.store import Store
from kvtui.errors import InvalidQuantity

_PODS = frozenset((("", "pods"),))


def _forbidden(request: AdmissionRequest, detail: str, *, early: bool = False) -> Denied:
    """`early`: while objects are still changed, where Kubernetes has not made up names yet."""
    base = str((request.object or {}).get("metadata", {}).get("generateName") or "")
    name = base if early and base and names.is_generated(request.name, base) else request.name
    shown = f'{request.resource} "{name}"' if name else request.resource
    return Denied(f"{shown} is forbidden: {detail}")


class Priority(Plugin):
    """spec.priorityClassName -> spec.priority."""

    resources = _PODS

    def __init__(self, store: Store) -> None:
        self._classes = store.bucket("priorityclasses.scheduling.k8s.io")

    async def mutate(self, request: AdmissionRequest) -> tuple[Object, list[str]]:
        obj, _ = await super().mutate(request)
        if request.operation != "CREATE" or request.subresource:
            return obj, []
        given = spec(obj)
        name = given.get("priorityClassName") or ""
        chosen: Object | None
        if name:
            record = self._classes.get(("", name))
            if record is None:
                raise _forbidden(request, f"no PriorityClass with name {name} was found", early=True)
            chosen = record.decode()
        else:
            chosen = self._default()
        if chosen is None:
            return obj, []
        changed = {
            **given,
            "priority": chosen.get("value", 0),
            "preemptionPolicy": given.get("preemptionPolicy") or chosen.get("preemptionPolicy", "PreemptLowerPriority"),
        }
        if chosen.get("globalDefault") or name:
            changed["priorityClassName"] = chosen["metadata"]["name"]
        return {**obj, "spec": changed}, []

    def _default(self) -> Object | None:
        classes = [c for r in self._classes.scan() if (c := r.decode()).get("globalDefault")]
        return min(classes, key=lambda c: int(c.get("value", 0)), default=None)


class ServiceAccounts(Plugin):
    """A Pod runs as an account that exists."""

    resources = _PODS

    def __init__(self, store: Store) -> None:
        self._accounts = store.bucket("serviceaccounts")

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.operation != "CREATE" or request.subresource or request.object is None:
            return []
        name = spec(request.object).get("serviceAccountName") or "default"
        if self._accounts.get_latest((request.namespace, name)) is None:
            raise _forbidden(
                request,
                f'error looking up service account {request.namespace}/{name}: serviceaccount "{name}" not found',
                early=True,
            )
        return []


class LimitRanges(Plugin):
    """Defaults and bounds of containers and claims from the LimitRanges of a namespace."""

    resources = frozenset((("", "pods"), ("", "persistentvolumeclaims")))

    def __init__(self, store: Store) -> None:
        self._ranges = store.bucket("limitranges")

    def _items(self, namespace: str, kind: str) -> list[Object]:
        return [
            item
            for record in self._ranges.scan(namespace)
            for item in spec(record.decode()).get("limits") or ()
            if item.get("type") == kind
        ]

    async def mutate(self, request: AdmissionRequest) -> tuple[Object, list[str]]:
        obj, _ = await super().mutate(request)
        if request.operation != "CREATE" or request.resource != "pods" or request.subresource:
            return obj, []
        items = self._items(request.namespace, "Container")
        given = spec(obj)
        if not items or not given.get("containers"):
            return obj, []
        changed = dict(given)
        for family in ("containers", "initContainers"):
            if changed.get(family):
                changed[family] = [_with_defaults(c, items) for c in changed[family]]
        return {**obj, "spec": changed}, []

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.object is None or request.subresource or request.operation != "CREATE":
            return []
        problems: list[str] = []
        if request.resource == "persistentvolumeclaims":
            for item in self._items(request.namespace, "PersistentVolumeClaim"):
                _check(item, spec(request.object).get("resources") or {}, "PersistentVolumeClaim", problems)
        else:
            for item in self._items(request.namespace, "Container"):
                for family in ("containers", "initContainers"):
                    for container in spec(request.object).get(family) or ():
                        _check(item, container.get("resources") or {}, "Container", problems)
            for item in self._items(request.namespace, "Pod"):
                _check(item, _together(spec(request.object)), "Pod", problems)
        if problems:
            listed = problems[0] if len(problems) == 1 else "[" + ", ".join(problems) + "]"
            raise _forbidden(request, listed)
        return []


def _with_defaults(container: Object, items: list[Object]) -> Object:
    resources = dict(container.get("resources") or {})
    limits, requests = dict(resources.get("limits") or {}), dict(resources.get("requests") or {})
    for item in items:
        for name, value in (item.get("default") or {}).items():
            limits.setdefault(name, value)
        for name, value in (item.get("defaultRequest") or {}).items():
            requests.setdefault(name, value)
    if limits:
        resources["limits"] = limits
    if requests:
        resources["requests"] = requests
    return {**container, "resources": resources}


def _check(item: Object, resources: Object, kind: str, problems: list[str]) -> None:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, bound in (item.get("min") or {}).items():
        text = f"minimum {name} usage per {kind} is {bound}"
        if name not in requests:
            problems.append(f"{text}.  No request is specified")
        elif _less(requests[name], bound):
            problems.append(f"{text}, but request is {requests[name]}")
        elif name in limits and _less(limits[name], bound):
            problems.append(f"{text}, but limit is {limits[name]}")
    for name, bound in (item.get("max") or {}).items():
        text = f"maximum {name} usage per {kind} is {bound}"
        claims = kind == "PersistentVolumeClaim"
        if name not in limits and not claims:
            problems.append(f"{text}.  No limit is specified")
        elif name in limits and _less(bound, limits[name]):
            problems.append(f"{text}, but limit is {limits[name]}")
        elif name in requests and _less(bound, requests[name]):
            problems.append(f"{text}, but request is {requests[name]}")


def _together(pod: Object) -> Object:
    """What the containers of a Pod ask for altogether, those before the start counted by the largest."""
    result: Object = {}
    for side in ("requests", "limits"):
        total: dict[str, Fraction] = {}
        for container in pod.get("containers") or ():
            for name, value in ((container.get("resources") or {}).get(side) or {}).items():
                total[name] = total.get(name, Fraction(0)) + _amount(value)
        for container in pod.get("initContainers") or ():
            for name, value in ((container.get("resources") or {}).get(side) or {}).items():
                total[name] = max(total.get(name, Fraction(0)), _amount(value))
        result[side] = {
            name: str(value) if value.denominator == 1 else f"{int(value * 1000)}m" for name, value in total.items()
        }
    return result


def _amount(value: object) -> Fraction:
    try:
        return Fraction(quantity.parse(str(value)))
    except InvalidQuantity:
        return Fraction(0)


def _less(left: object, right: object) -> bool:
    try:
        return quantity.parse(str(left)) < quantity.parse(str(right))
    except InvalidQuantity:
        return False

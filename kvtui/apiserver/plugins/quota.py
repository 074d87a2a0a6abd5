"""ResourceQuota: what the objects of a namespace may ask for altogether.

Usage is counted from the store at each create, so it is never stale; `status` is kept for people who read it.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from kvtui.api import quantity
from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.plugins.base import Object, Plugin, spec
from kvtui.apiserver.store import Bucket, Store
from kvtui.errors import InvalidQuantity

_COUNTED = {
    "pods": "pods",
    "services": "services",
    "configmaps": "configmaps",
    "secrets": "secrets",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
    "services.nodeports": "services",
    "services.loadbalancers": "services",
}
_CHANGING = (("", "persistentvolumeclaims"), ("", "pods"), ("", "services"))
"""What may ask for more in an update."""
Usage = dict[str, Fraction]


class Quota(Plugin):
    """Refuses what would go beyond a quota."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._quotas = store.bucket("resourcequotas")

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.operation not in ("CREATE", "UPDATE") or request.subresource or request.object is None:
            return []
        if not request.namespace or not self._quotas.records:
            return []
        wanted = _asked_for(request)
        for record in self._quotas.scan(request.namespace) if wanted else ():
            quota = record.decode()
            hard = spec(quota).get("hard") or {}
            limited = {name: value for name, value in hard.items() if name in wanted}
            if not in_scope(quota, request.resource, request.object):
                continue
            if request.operation == "CREATE":
                _require_requests(request, record.name, hard)
            if not limited:
                continue
            used = self.used(request.namespace, quota)
            over = [n for n, bound in limited.items() if used.get(n, Fraction(0)) + wanted[n] > _amount(bound)]
            if over:
                raise self._exceeded(request, record.name, over, wanted, used, hard)
        return []

    def used(self, namespace: str, quota: Object) -> Usage:
        """What the namespace uses of everything that a quota limits."""
        total: Usage = {}
        hard = spec(quota).get("hard") or {}
        for group, plural, bucket in self._buckets(hard):
            pending = (key for key in bucket.latest if key[0] == namespace)
            for key in dict.fromkeys((*bucket.keys_in(namespace), *pending)):
                record = bucket.get_latest(key)
                if record is None:
                    continue
                obj = record.decode()
                if not in_scope(quota, plural, obj):
                    continue
                for name, amount in usage_of(group, plural, obj).items():
                    if name in hard:
                        total[name] = total.get(name, Fraction(0)) + amount
        return total

    def _buckets(self, hard: Object) -> list[tuple[str, str, Bucket]]:
        found: dict[str, tuple[str, str]] = {}
        for name in hard:
            if name.startswith("count/"):
                plural, _, group = name.removeprefix("count/").partition(".")
                found[f"{plural}.{group}" if group else plural] = (group, plural)
            elif name in _COUNTED:
                found[_COUNTED[name]] = ("", _COUNTED[name])
            elif name == "requests.storage" or ".storageclass.storage.k8s.io/" in name:
                found["persistentvolumeclaims"] = ("", "persistentvolumeclaims")
            else:
                found["pods"] = ("", "pods")
        return [(group, plural, self._store.bucket(b)) for b, (group, plural) in found.items()]

    def _exceeded(
        self, request: AdmissionRequest, quota: str, over: list[str], wanted: Usage, used: Usage, hard: Object
    ) -> Denied:
        def listed(value: Callable[[str], str]) -> str:
            return ",".join(f"{name}={value(name)}" for name in sorted(over))

        name = request.name or str((request.object or {}).get("metadata", {}).get("generateName", ""))
        requested, limited = listed(lambda n: shown(wanted[n])), listed(lambda n: str(hard[n]))
        present = listed(lambda n: shown(used.get(n, Fraction(0))))
        return Denied(
            f'{request.resource} "{name}" is forbidden: exceeded quota: {quota}, requested: {requested}, '
            f"used: {present}, limited: {limited}"
        )


def _asked_for(request: AdmissionRequest) -> Usage:
    """What a request takes beyond what its object has already."""
    assert request.object is not None
    wanted = usage_of(request.group, request.resource, request.object)
    if request.operation == "CREATE":
        return wanted
    if (request.group, request.resource) not in _CHANGING or request.old_object is None:
        return {}
    before = usage_of(request.group, request.resource, request.old_object)
    return {n: more for n, amount in wanted.items() if (more := amount - before.get(n, Fraction(0))) > 0}


def _amount(value: object) -> Fraction:
    try:
        return Fraction(quantity.parse(str(value)))
    except InvalidQuantity:
        return Fraction(0)


def shown(value: Fraction | None) -> str:
    """An amount as a quantity."""
    if value is None:
        return "0"
    return str(value.numerator) if value.denominator == 1 else f"{int(value * 1000)}m"


def in_scope(quota: Object, plural: str, obj: Object) -> bool:
    """Whether a quota's scopes take an object in."""
    scopes = spec(quota).get("scopes") or ()
    expressions = (spec(quota).get("scopeSelector") or {}).get("matchExpressions") or ()
    if plural != "pods":
        return not scopes and not expressions
    pod = spec(obj)
    qos = (obj.get("status") or {}).get("qosClass")
    checks = {
        "Terminating": pod.get("activeDeadlineSeconds") is not None,
        "NotTerminating": pod.get("activeDeadlineSeconds") is None,
        "BestEffort": qos == "BestEffort",
        "NotBestEffort": qos != "BestEffort",
        "PriorityClass": bool(pod.get("priorityClassName")),
        "CrossNamespacePodAffinity": _looks_elsewhere(pod),
    }
    return all(checks.get(scope, True) for scope in scopes) and all(
        _matches(expression, checks, str(pod.get("priorityClassName") or "")) for expression in expressions
    )


def _matches(expression: Object, checks: dict[str, bool], priority: str) -> bool:
    """One expression of a scopeSelector; only priority classes have values."""
    scope, values = expression.get("scopeName", ""), expression.get("values") or ()
    inside = checks.get(scope, True)
    match expression.get("operator"):
        case "In":
            return inside and priority in values
        case "NotIn":
            return priority not in values
        case "DoesNotExist":
            return not inside
    return inside


def _looks_elsewhere(pod: Object) -> bool:
    """Whether a Pod's affinity names other namespaces."""
    affinity = pod.get("affinity") or {}
    terms: list[Object] = []
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms += rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [t.get("podAffinityTerm") or {} for t in preferred]
    return any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms)


def usage_of(group: str, plural: str, obj: Object) -> Usage:
    """What one object uses, by the names that quotas know."""
    usage: Usage = {f"count/{plural}.{group}" if group else f"count/{plural}": Fraction(1)}
    if group:
        return usage
    if plural == "pods":
        if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return {}
        usage["pods"] = Fraction(1)
        _pod_usage(obj, usage)
    elif plural == "persistentvolumeclaims":
        usage["persistentvolumeclaims"] = Fraction(1)
        _claim_usage(obj, usage)
    elif plural in _COUNTED:
        usage[plural] = Fraction(1)
        if plural == "services":
            _service_usage(obj, usage)
    return usage


def _service_usage(obj: Object, usage: Usage) -> None:
    kind = spec(obj).get("type")
    balanced = kind == "LoadBalancer"
    usage["services.loadbalancers"] = Fraction(balanced)
    outside = kind == "NodePort" or (balanced and spec(obj).get("allocateLoadBalancerNodePorts") is not False)
    usage["services.nodeports"] = Fraction(len(spec(obj).get("ports") or ()) if outside else 0)


def _claim_usage(obj: Object, usage: Usage) -> None:
    size = ((spec(obj).get("resources") or {}).get("requests") or {}).get("storage")
    amount = _amount(size) if size is not None else Fraction(0)
    usage["requests.storage"] = amount
    storage_class = spec(obj).get("storageClassName")
    if storage_class:
        prefix = f"{storage_class}.storageclass.storage.k8s.io"
        usage[f"{prefix}/requests.storage"] = amount
        usage[f"{prefix}/persistentvolumeclaims"] = Fraction(1)


def _pod_usage(obj: Object, usage: Usage) -> None:
    def total(kind: str) -> Usage:
        together: Usage = {}
        for container in spec(obj).get("containers") or ():
            for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
                together[name] = together.get(name, Fraction(0)) + _amount(value)
        for container in spec(obj).get("initContainers") or ():
            for name, value in ((container.get("resources") or {}).get(kind) or {}).items():
                together[name] = max(together.get(name, Fraction(0)), _amount(value))
        for name, value in (spec(obj).get("overhead") or {}).items():
            together[name] = together.get(name, Fraction(0)) + _amount(value)
        return together

    for name, amount in total("requests").items():
        usage[f"requests.{name}"] = amount
        if name in ("cpu", "memory", "ephemeral-storage"):
            usage[name] = amount
    for name, amount in total("limits").items():
        usage[f"limits.{name}"] = amount


def _require_requests(request: AdmissionRequest, quota: str, hard: Object) -> None:
    """A quota of cpu or memory wants every container to say what it needs."""
    if request.resource != "pods":
        return
    missing: dict[str, list[str]] = {}
    for container in spec(request.object).get("containers") or ():
        resources = container.get("resources") or {}
        for name in hard:
            kind, _, plain = name.rpartition(".")
            if plain not in ("cpu", "memory") or kind not in ("", "requests", "limits"):
                continue
            if plain not in (resources.get("limits" if kind == "limits" else "requests") or {}):
                missing.setdefault(name, []).append(str(container.get("name", "")))
    if missing:
        listed = "; ".join(f"{name} for: {','.join(sorted(set(missing[name])))}" for name in sorted(missing))
        raise Denied(f'pods "{request.name}" is forbidden: failed quota: {quota}: must specify {listed}')

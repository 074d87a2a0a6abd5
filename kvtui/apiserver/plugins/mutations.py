"""MutatingAdmissionPolicy: changes that the cluster's owner wants made, as CEL expressions that build them.

Policies are applied by name, each binding after the other, and again where they want that and others have changed the
object since.

Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver import status
from kvtui.apiserver.bootstrap import SYSTEM
from kvtui.apiserver.patch import json_patch, typed
from kvtui.apiserver.patch.errors import PatchError
from kvtui.apiserver.plugins.base import Object, Plugin, spec
from kvtui.apiserver.plugins.changing import NotSound, shown, sound
from kvtui.apiserver.plugins.kept import Kept
from kvtui.apiserver.plugins.matching import Matching
from kvtui.apiserver.record import Record, encode
from kvtui.apiserver.resources import ResourceInfo, Resources
from kvtui.apiserver.store import Store
from kvtui.errors import Cause

if TYPE_CHECKING:
    from kvtui.apiserver.schema.cel_policy import Expression

_GROUP = "admissionregistration.k8s.io"
Change = Callable[[Object, dict[str, Any], ResourceInfo], Any]


@dataclass(frozen=True, slots=True)
class _Policy:
    """A policy with its expressions compiled."""

    name: str
    spec: Object
    variables: list[tuple[str, Expression]]
    conditions: list[Expression]
    changes: list[Change]


class Mutations(Plugin):
    """Applies every policy that is bound to the object of a request."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self._matching = Matching(store, resources)
        self._policies = store.bucket(f"mutatingadmissionpolicies.{_GROUP}")
        self._bindings = store.bucket(f"mutatingadmissionpolicybindings.{_GROUP}")
        self._compiled: Kept[_Policy] = Kept()

    @property
    def idle(self) -> bool:
        return not self._bindings.records or not self._policies.records

    async def mutate(self, request: AdmissionRequest) -> tuple[Object, list[str]]:
        """Raises Denied."""
        assert request.object is not None
        info = self._matching.info(request)
        if info is None or request.group == _GROUP or request.user.username == SYSTEM.username:
            return request.object, []
        left: dict[str, bytes] = {}
        """What each policy left behind."""
        for again in (False, True):
            changed = False
            for policy, name, binding in self._bound():
                if not self._concerns(policy, binding, request):
                    continue
                now = encode(request.object or {})
                if again and (policy.spec.get("reinvocationPolicy") != "IfNeeded" or left.get(name, now) == now):
                    continue
                request = replace(request, object=self._applied(policy, name, binding, request, info))
                left[name] = encode(request.object or {})
                changed = changed or left[name] != now
            if not changed:
                break
        assert request.object is not None
        return request.object, []

    def _bound(self) -> list[tuple[_Policy, str, Object]]:
        """Policies with their bindings and those's names, in their order."""
        found = []
        for record in self._bindings.snapshot():
            binding = spec(record.decode())
            policy = self._policies.get(("", str(binding.get("policyName"))))
            if policy is not None:
                found.append((self._policy(policy), record.name, binding))
        return sorted(found, key=lambda each: (each[0].name, each[1]))

    def _policy(self, record: Record) -> _Policy:
        return self._compiled.get((record.name, record.rv), lambda: _compile(record.name, spec(record.decode())))

    def _concerns(self, policy: _Policy, binding: Object, request: AdmissionRequest) -> bool:
        return self._matching.concerns(
            policy.spec.get("matchConstraints") or {}, request, everything=False
        ) and self._matching.concerns(binding.get("matchResources") or {}, request, everything=True)

    def _applied(
        self, policy: _Policy, binding_name: str, binding: Object, request: AdmissionRequest, info: ResourceInfo
    ) -> Object:
        """Raises Denied when an expression fails and failures matter."""
        from kvtui.apiserver.schema.cel_policy import NotEvaluated, with_variables

        assert request.object is not None
        obj = request.object
        try:
            for params in self._matching.params(policy.spec, binding, request):
                data = self._matching.data(replace(request, object=obj), params)
                if not all(condition.holds(data) for condition in policy.conditions):
                    continue
                for change in policy.changes:
                    current = replace(request, object=obj)
                    data = with_variables(self._matching.data(current, params), policy.variables)
                    before = shown(obj, current, info)
                    assert before is not None
                    obj = sound(before, change(before, data, info), current, info)
        except (NotEvaluated, NotSound, PatchError) as error:
            if policy.spec.get("failurePolicy") == "Ignore":
                return request.object
            whose = f"MutatingAdmissionPolicy '{policy.name}' with binding '{binding_name}'"
            text = f"{whose} denied request: {error}"
            resource = status.qualified(request.resource, request.group)
            named = f'{resource} "{request.name}"' if request.name else resource
            raise Denied(
                f"{named} is forbidden: {text}", code=422, reason="Invalid", causes=(Cause("", text, ""),)
            ) from error
        return obj


def _compile(name: str, spec_: Object) -> _Policy:
    """Expressions were compiled when the policy was written, so they compile now."""
    from kvtui.apiserver.schema.cel_policy import compile_expression

    return _Policy(
        name,
        spec_,
        [(str(v.get("name")), compile_expression(str(v.get("expression")))) for v in spec_.get("variables") or ()],
        [compile_expression(str(c["expression"])) for c in spec_.get("matchConditions") or ()],
        [_change(mutation) for mutation in spec_.get("mutations") or ()],
    )


def _change(mutation: Object) -> Change:
    from kvtui.apiserver.schema.cel_policy import NotEvaluated, compile_construction

    patches = mutation.get("patchType") == "JSONPatch"
    text = (mutation.get("jsonPatch" if patches else "applyConfiguration") or {}).get("expression")
    expression = compile_construction(str(text or ""))

    def patched(before: Object, data: dict[str, Any], info: ResourceInfo) -> Any:
        return json_patch.apply(before, expression.builds(data, None))

    def merged(before: Object, data: dict[str, Any], info: ResourceInfo) -> Any:
        config = expression.builds(data, info.node)
        if not isinstance(config, dict):
            raise NotEvaluated("the expression must evaluate to an Object")
        if problems := typed.check(config, info.node):
            raise NotEvaluated(f"the configuration does not fit: {problems[0]}")
        return typed.merge(before, config, info.node)

    return patched if patches else merged

"""ValidatingAdmissionPolicy: rules of the cluster's owner, as CEL expressions over each request.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.plugins.base import Object, Plugin, spec
from kvtui.apiserver.plugins.kept import Kept
from kvtui.apiserver.plugins.matching import Matching
from kvtui.apiserver.record import Record
from kvtui.apiserver.resources import Resources
from kvtui.apiserver.schema import cel_policy
from kvtui.apiserver.schema.cel_policy import Expression, NotEvaluated, compile_expression
from kvtui.apiserver.store import Store
from kvtui.errors import Cause

_GROUP = "admissionregistration.k8s.io"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class _Check:
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Policy:
    """A policy with its expressions compiled."""

    name: str
    spec: Object
    variables: list[tuple[str, Expression]]
    conditions: list[tuple[str, Expression]]
    checks: list[_Check]

    @property
    def ignores_failures(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"


@dataclass(frozen=True, slots=True)
class _Violation:
    message: str
    reason: str = "Invalid"


class Policies(Plugin):
    """Asks every policy that is bound to the object of a request."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self._policies = store.bucket(f"validatingadmissionpolicies.{_GROUP}")
        self._bindings = store.bucket(f"validatingadmissionpolicybindings.{_GROUP}")
        self._matching = Matching(store, resources)
        self._compiled: Kept[_Policy] = Kept()

    @property
    def idle(self) -> bool:
        return not self._bindings.records or not self._policies.records

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.group == _GROUP:
            return []
        warnings: list[str] = []
        for record in self._bindings.snapshot():
            binding = spec(record.decode())
            found = self._policies.get(("", str(binding.get("policyName"))))
            if found is None:
                continue
            policy = self._policy(found)
            if not self._matching.concerns(policy.spec.get("matchConstraints") or {}, request, everything=False):
                continue
            if not self._matching.concerns(binding.get("matchResources") or {}, request, everything=True):
                continue
            for violation in self._violations(policy, binding, request):
                self._act(policy, record.name, binding, violation, request, warnings)
        return warnings

    def _policy(self, record: Record) -> _Policy:
        return self._compiled.get((record.name, record.rv), lambda: _compile(record.name, spec(record.decode())))

    def _violations(self, policy: _Policy, binding: Object, request: AdmissionRequest) -> list[_Violation]:
        try:
            given = self._matching.params(policy.spec, binding, request)
        except NotEvaluated as error:
            return [] if policy.ignores_failures else [_Violation(str(error))]
        found: list[_Violation] = []
        for params in given:
            found += self._judge(policy, self._matching.data(request, params))
        return found

    def _judge(self, policy: _Policy, data: dict[str, Any]) -> list[_Violation]:
        try:
            if not all(condition.holds(data) for _, condition in policy.conditions):
                return []
        except NotEvaluated as error:
            return [] if policy.ignores_failures else [_Violation(str(error))]
        data = cel_policy.with_variables(data, policy.variables)
        found: list[_Violation] = []
        for check in policy.checks:
            try:
                if not check.expression.holds(data):
                    found.append(_Violation(_said(check, data), check.reason))
            except NotEvaluated as error:
                if not policy.ignores_failures:
                    text = f"expression '{check.expression.text.strip()}' resulted in error: {error}"
                    found.append(_Violation(text))
        return found

    def _act(
        self,
        policy: _Policy,
        binding_name: str,
        binding: Object,
        violation: _Violation,
        request: AdmissionRequest,
        warnings: list[str],
    ) -> None:
        """Refuses or warns, as the binding says. Raises Denied."""
        actions = binding.get("validationActions") or ()
        whose = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding_name}'"
        if "Deny" in actions:
            text = f"{whose} denied request: {violation.message}"
            resource = f"{request.resource}.{request.group}" if request.group else request.resource
            shown = f'{resource} "{request.name}"' if request.name else resource
            raise Denied(
                f"{shown} is forbidden: {text}",
                code=_CODES.get(violation.reason, 422),
                reason=violation.reason,
                causes=(Cause("", text, ""),),
            )
        if "Warn" in actions:
            warnings.append(f"Validation failed for {whose}: {violation.message}")


def _compile(name: str, spec_: Object) -> _Policy:
    """Expressions were compiled when the policy was written, so they compile now."""
    return _Policy(
        name,
        spec_,
        [(str(v.get("name")), compile_expression(str(v.get("expression")))) for v in spec_.get("variables") or ()],
        [(str(c.get("name")), compile_expression(str(c["expression"]))) for c in spec_.get("matchConditions") or ()],
        [
            _Check(
                compile_expression(str(v["expression"])),
                str(v.get("message") or ""),
                compile_expression(str(v["messageExpression"])) if v.get("messageExpression") else None,
                str(v.get("reason") or "Invalid"),
            )
            for v in spec_.get("validations") or ()
        ],
    )


def _said(check: _Check, data: dict[str, Any]) -> str:
    fallback = check.message.strip() or f"failed expression: {check.expression.text.strip()}"
    if check.message_expression is None:
        return fallback
    try:
        text = check.message_expression.evaluate(data)
    except NotEvaluated:
        return fallback
    return text.strip() if isinstance(text, str) and text.strip() and "\n" not in text else fallback

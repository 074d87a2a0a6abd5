"""Admission policies and their bindings: defaults, and expressions that can be compiled.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/,
https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvtui.apiserver import selectors, status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause, InvalidSelector

Object = dict[str, Any]
_ACTIONS = ("Audit", "Deny", "Warn")


class Policies(Strategy):
    """What is checked, and of what."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict):
            spec.setdefault("failurePolicy", "Fail")
            default_match(spec.get("matchConstraints"))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        if not spec.get("validations") and not spec.get("auditAnnotations"):
            text = "validations or auditAnnotations must be non-empty"
            causes.append(status.required("spec.validations", text))
        if not (spec.get("matchConstraints") or {}).get("resourceRules"):
            causes.append(status.required("spec.matchConstraints.resourceRules"))
        if spec.get("failurePolicy") not in ("Fail", "Ignore"):
            causes.append(
                status.not_supported("spec.failurePolicy", str(spec.get("failurePolicy")), ("Fail", "Ignore"))
            )
        causes += _selector_causes(spec.get("matchConstraints"), "spec.matchConstraints")
        for path, text in _expressions(spec):
            problem = _problem(text)
            if problem:
                causes.append(status.invalid_value(path, text, problem))
        return causes


class Mutations(Strategy):
    """What is changed, and of what."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict):
            spec.setdefault("failurePolicy", "Fail")
            spec.setdefault("reinvocationPolicy", "Never")
            default_match(spec.get("matchConstraints"))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes: list[Cause] = []
        if not spec.get("mutations"):
            causes.append(status.required("spec.mutations", "mutations must be non-empty"))
        if not (spec.get("matchConstraints") or {}).get("resourceRules"):
            causes.append(status.required("spec.matchConstraints.resourceRules"))
        for key, allowed in (("failurePolicy", ("Fail", "Ignore")), ("reinvocationPolicy", ("IfNeeded", "Never"))):
            if spec.get(key) not in allowed:
                causes.append(status.not_supported(f"spec.{key}", str(spec.get(key)), allowed))
        causes += _selector_causes(spec.get("matchConstraints"), "spec.matchConstraints")
        for path, text in _expressions(spec):
            if problem := _problem(text):
                causes.append(status.invalid_value(path, text, problem))
        for index, mutation in enumerate(spec.get("mutations") or ()):
            causes += _mutation_causes(mutation, f"spec.mutations[{index}]")
        return causes


_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
"""Types of mutations and their fields."""


def _mutation_causes(mutation: Object, at: str) -> list[Cause]:
    chosen = mutation.get("patchType")
    if chosen not in _PATCHES:
        return [status.not_supported(f"{at}.patchType", str(chosen or ""), tuple(_PATCHES))]
    causes: list[Cause] = []
    for type_, key in _PATCHES.items():
        given = mutation.get(key)
        if type_ != chosen and given is not None:
            causes.append(status.forbidden_field(f"{at}.{key}", f"not allowed when patchType is {chosen}"))
        if type_ != chosen:
            continue
        text = str((given or {}).get("expression") or "")
        if not text.strip():
            causes.append(status.required(f"{at}.{key}.expression"))
        elif problem := _problem(text, construction=True):
            causes.append(status.invalid_value(f"{at}.{key}.expression", text, problem))
    return causes


class MutationBindings(Strategy):
    """Where a policy of changes holds."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict):
            default_match(spec.get("matchResources"))

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj.get("spec") or {}
        causes = [] if spec.get("policyName") else [status.required("spec.policyName")]
        causes += self._more(spec)
        selector = (spec.get("paramRef") or {}).get("selector")
        causes += _selector_problem(selector, "spec.paramRef.selector")
        return causes + _selector_causes(spec.get("matchResources"), "spec.matchResources")

    def _more(self, spec: Object) -> list[Cause]:
        return []


class Bindings(MutationBindings):
    """Where a policy of rules holds, and what happens there."""

    def _more(self, spec: Object) -> list[Cause]:
        causes: list[Cause] = []
        actions = spec.get("validationActions") or ()
        if not actions:
            causes.append(status.required("spec.validationActions"))
        for index, action in enumerate(actions):
            if action not in _ACTIONS:
                causes.append(status.not_supported(f"spec.validationActions[{index}]", str(action), _ACTIONS))
        if "Deny" in actions and "Warn" in actions:
            text = "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            text += "response and headers serves no purpose)"
            causes.append(status.invalid_value("spec.validationActions", list(actions), text))
        return causes


def default_match(match: Any) -> None:
    """Fills in what the choice of resources leaves out."""
    if not isinstance(match, dict):
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for family in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(family) or ():
            if isinstance(rule, dict):
                rule.setdefault("scope", "*")


def _selector_causes(match: Any, path: str) -> list[Cause]:
    if not isinstance(match, dict):
        return []
    return [
        cause
        for key in ("namespaceSelector", "objectSelector")
        for cause in _selector_problem(match.get(key), f"{path}.{key}")
    ]


def _selector_problem(selector: Any, path: str) -> list[Cause]:
    try:
        selectors.from_object(selector)
    except InvalidSelector as error:
        return [status.invalid_value(path, selector, str(error))]
    return []


def _expressions(spec: Object) -> Iterator[tuple[str, str]]:
    for family, key in (("variables", "expression"), ("matchConditions", "expression"), ("validations", "expression")):
        for index, item in enumerate(spec.get(family) or ()):
            yield f"spec.{family}[{index}].{key}", str(item.get(key) or "")
    for index, item in enumerate(spec.get("validations") or ()):
        if item.get("messageExpression"):
            yield f"spec.validations[{index}].messageExpression", str(item["messageExpression"])
    for index, item in enumerate(spec.get("auditAnnotations") or ()):
        yield f"spec.auditAnnotations[{index}].valueExpression", str(item.get("valueExpression") or "")


def _problem(text: str, *, construction: bool = False) -> str:
    from kvtui.apiserver.schema import cel_policy  # brings a library that most servers never need

    try:
        (cel_policy.compile_construction if construction else cel_policy.compile_expression)(text)
    except cel_policy.NotEvaluated as error:
        return str(error)
    return ""

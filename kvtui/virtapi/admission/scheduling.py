"""Affinity and topology spread of a VMI, checked as Kubernetes checks a Pod's; one cause for each complaint.

Source: control plane facts 5.3; k8s.io/kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid
from kvtui.virtapi.admission.text import dns_label, dns_subdomain, label_value, qualified_name, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.core.parts import (
        NodeSelectorRequirement,
        NodeSelectorTerm,
        PodAffinity,
        PodAffinityTerm,
        PodAntiAffinity,
    )
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.api.meta import LabelSelector
    from kvtui.errors import Cause

SPREAD_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")


def _complaint(field: Path, text: str) -> Cause:
    return invalid(f"{field}: {text}", field)


def _wrong(field: Path, value: str | int, text: str) -> Cause:
    shown = quoted(value) if isinstance(value, str) else str(value)
    return _complaint(field, f"Invalid value: {shown}: {text}")


def _missing(field: Path, text: str) -> Cause:
    return _complaint(field, f"Required value: {text}" if text else "Required value")


def validate_scheduling(spec: VirtualMachineInstanceSpec, field: Path) -> list[Cause]:
    return [*_affinity(spec, field), *_spread(spec, field.child("topologySpreadConstraints"))]


def _affinity(spec: VirtualMachineInstanceSpec, field: Path) -> Iterator[Cause]:
    affinity = spec.affinity
    if affinity is None:
        return
    if affinity.node_affinity is not None:
        own = field.child("nodeAffinity")
        needed = affinity.node_affinity.required_during_scheduling_ignored_during_execution
        if needed is not None:
            terms = own.child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
            if not needed.node_selector_terms:
                yield _missing(terms, "must have at least one node selector term")
            for position, term in enumerate(needed.node_selector_terms):
                yield from _node_term(term, terms.item(position))
        preferred = own.child("preferredDuringSchedulingIgnoredDuringExecution")
        for position, wish in enumerate(affinity.node_affinity.preferred_during_scheduling_ignored_during_execution):
            at = preferred.item(position)
            yield from _weight(wish.weight, at)
            yield from _node_term(wish.preference, at.child("preference"))
    if affinity.pod_affinity is not None:
        yield from _pods(affinity.pod_affinity, field.child("podAffinity"))
    if affinity.pod_anti_affinity is not None:
        yield from _pods(affinity.pod_anti_affinity, field.child("podAntiAffinity"))


def _weight(weight: int, at: Path) -> Iterator[Cause]:
    if not 1 <= weight <= 100:
        yield _wrong(at.child("weight"), weight, "must be in the range 1-100")


def _node_term(term: NodeSelectorTerm, field: Path) -> Iterator[Cause]:
    for position, requirement in enumerate(term.match_expressions):
        yield from _node_expression(requirement, field.child("matchExpressions").item(position))
    for position, requirement in enumerate(term.match_fields):
        yield from _node_field(requirement, field.child("matchFields").item(position))


def _node_expression(requirement: NodeSelectorRequirement, field: Path) -> Iterator[Cause]:
    values = field.child("values")
    match requirement.operator:
        case "In" | "NotIn":
            if not requirement.values:
                yield _missing(values, "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if requirement.values:
                yield _complaint(
                    values, "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        case "Gt" | "Lt":
            if len(requirement.values) != 1:
                yield _missing(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case other:
            yield _wrong(field.child("operator"), other, "not a valid selector operator")
    yield from _label_key(requirement.key, field.child("key"))


def _node_field(requirement: NodeSelectorRequirement, field: Path) -> Iterator[Cause]:
    if requirement.operator not in ("In", "NotIn"):
        yield _wrong(field.child("operator"), requirement.operator, "not a valid selector operator")
    elif len(requirement.values) != 1:
        yield _missing(
            field.child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        )
    if requirement.key != "metadata.name":
        yield _wrong(field.child("key"), requirement.key, "not a valid field selector key")
        return
    for position, value in enumerate(requirement.values):
        for text in dns_subdomain(value):
            yield _wrong(field.child("values").item(position), value, text)


def _label_key(key: str, field: Path) -> Iterator[Cause]:
    for text in qualified_name(key):
        yield _wrong(field, key, text)


def _pods(affinity: PodAffinity | PodAntiAffinity, field: Path) -> Iterator[Cause]:
    needed = field.child("requiredDuringSchedulingIgnoredDuringExecution")
    for position, term in enumerate(affinity.required_during_scheduling_ignored_during_execution):
        yield from _pod_term(term, needed.item(position))
    preferred = field.child("preferredDuringSchedulingIgnoredDuringExecution")
    for position, wish in enumerate(affinity.preferred_during_scheduling_ignored_during_execution):
        at = preferred.item(position)
        yield from _weight(wish.weight, at)
        yield from _pod_term(wish.pod_affinity_term, at.child("podAffinityTerm"))


def _pod_term(term: PodAffinityTerm, field: Path) -> Iterator[Cause]:
    yield from label_selector(term.label_selector, field.child("labelSelector"))
    yield from label_selector(term.namespace_selector, field.child("namespaceSelector"))
    for name in term.namespaces:
        for text in dns_label(name):
            yield _wrong(field.child("namespace"), name, text)
    if not term.topology_key:
        yield _missing(field.child("topologyKey"), "can not be empty")
    yield from _label_key(term.topology_key, field.child("topologyKey"))


def label_selector(selector: LabelSelector | None, field: Path) -> Iterator[Cause]:
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        yield from _label_key(key, field.child("matchLabels"))
        for text in label_value(value):
            yield _wrong(field.child("matchLabels"), value, text)
    for position, expression in enumerate(selector.match_expressions):
        at = field.child("matchExpressions").item(position)
        match expression.operator:
            case "In" | "NotIn":
                if not expression.values:
                    yield _missing(at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")
            case "Exists" | "DoesNotExist":
                if expression.values:
                    yield _complaint(
                        at.child("values"),
                        "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    )
            case other:
                yield _wrong(at.child("operator"), other, "not a valid selector operator")
        yield from _label_key(expression.key, at.child("key"))
        for number, value in enumerate(expression.values):
            for text in label_value(value):
                yield _wrong(at.child("values").item(number), value, text)


def _spread(spec: VirtualMachineInstanceSpec, field: Path) -> Iterator[Cause]:
    constraints = spec.topology_spread_constraints
    for position, constraint in enumerate(constraints):
        at = field.item(position)
        if constraint.max_skew <= 0:
            yield _wrong(at.child("maxSkew"), constraint.max_skew, "must be greater than zero")
        if not constraint.topology_key:
            yield _missing(at.child("topologyKey"), "can not be empty")
        else:
            yield from _label_key(constraint.topology_key, at.child("topologyKey"))
        action = constraint.when_unsatisfiable
        if action not in SPREAD_ACTIONS:
            supported = ", ".join(quoted(known) for known in SPREAD_ACTIONS)
            yield _complaint(
                at.child("whenUnsatisfiable"), f"Unsupported value: {quoted(action)}: supported values: {supported}"
            )
        yield from label_selector(constraint.label_selector, field.child("labelSelector"))
        same = (constraint.topology_key, action)
        if any((other.topology_key, other.when_unsatisfiable) == same for other in constraints[position + 1 :]):
            pair = f"{{{constraint.topology_key}, {action}}}"
            yield _complaint(at.child("{topologyKey, whenUnsatisfiable}"), f"Duplicate value: {quoted(pair)}")

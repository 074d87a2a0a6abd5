"""Rules about the Pods that are already there: affinity, anti-affinity and topology spread.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kvtui.api import selectors
from kvtui.api.core.config import Namespace
from kvtui.api.core.node import Node
from kvtui.api.core.parts import Affinity, PodAffinityTerm, TopologySpreadConstraint
from kvtui.api.core.pod import Pod
from kvtui.api.meta import LabelSelector, LabelSelectorRequirement
from kvtui.api.wire import evolve
from kvtui.controllers.standins.scheduler.filters import Refusal, matches_affinity, tolerates

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"


@dataclass(frozen=True, slots=True)
class Placed:
    """A Pod and the node on which it is."""

    pod: Pod
    node: Node


Namespaces = Callable[[str], Namespace | None]


def required(affinity: Affinity | None, *, anti: bool) -> list[PodAffinityTerm]:
    part = (affinity.pod_anti_affinity if anti else affinity.pod_affinity) if affinity else None
    return part.required_during_scheduling_ignored_during_execution if part else []


def _with_label_keys(selector: LabelSelector | None, keys: Sequence[str], pod: Pod, operator: str) -> LabelSelector:
    base = selector or LabelSelector()
    more = [
        LabelSelectorRequirement(key=key, operator=operator, values=[pod.metadata.labels[key]])
        for key in keys
        if key in pod.metadata.labels
    ]
    return evolve(base, match_expressions=[*base.match_expressions, *more])


def term_matches(term: PodAffinityTerm, owner: Pod, other: Pod, namespaces: Namespaces) -> bool:
    """Whether `other` is one of the Pods that a term of `owner` speaks of."""
    if term.label_selector is None:
        return False
    allowed = set(term.namespaces)
    if not allowed and term.namespace_selector is None:
        allowed = {owner.metadata.namespace}
    if other.metadata.namespace not in allowed:
        if term.namespace_selector is None:
            return False
        namespace = namespaces(other.metadata.namespace)
        labels = namespace.metadata.labels if namespace is not None else {}
        if not selectors.from_object(term.namespace_selector).matches(labels):
            return False
    chosen = _with_label_keys(term.label_selector, term.match_label_keys, owner, "In")
    chosen = _with_label_keys(chosen, term.mismatch_label_keys, owner, "NotIn")
    return selectors.from_object(chosen).matches(other.metadata.labels)


def _domains(
    terms: Iterable[PodAffinityTerm], pod: Pod, placed: Sequence[Placed], namespaces: Namespaces
) -> list[tuple[PodAffinityTerm, set[str]]]:
    """For each term the values of its topology key where a matching Pod is."""
    found = []
    for term in terms:
        values = {
            p.node.metadata.labels[term.topology_key]
            for p in placed
            if term.topology_key in p.node.metadata.labels and term_matches(term, pod, p.pod, namespaces)
        }
        found.append((term, values))
    return found


class Neighbours:
    """Computed once per Pod that is to be placed, then asked for each node."""

    def __init__(self, pod: Pod, placed: Sequence[Placed], nodes: Sequence[Node], namespaces: Namespaces) -> None:
        self._pod = pod
        self._near = _domains(required(pod.spec.affinity, anti=False), pod, placed, namespaces)
        self._far = _domains(required(pod.spec.affinity, anti=True), pod, placed, namespaces)
        # The first of a group that wants to be near itself may go anywhere.
        nobody = not any(values for _, values in self._near)
        self._first = nobody and all(term_matches(t, pod, pod, namespaces) for t, _ in self._near)
        self._kept_away: set[tuple[str, str]] = {
            (term.topology_key, p.node.metadata.labels[term.topology_key])
            for p in placed
            for term in required(p.pod.spec.affinity, anti=True)
            if term.topology_key in p.node.metadata.labels and term_matches(term, p.pod, pod, namespaces)
        }
        hard = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "DoNotSchedule"]
        self._spread = [(c, _spread_counts(c, pod, placed, nodes)) for c in hard]

    def check(self, node: Node) -> Refusal | None:
        labels = node.metadata.labels
        for constraint, counts in self._spread:
            value = labels.get(constraint.topology_key)
            if value is None:
                return Refusal((SPREAD_LABEL,))
            own = 1 if _counts(constraint, self._pod, self._pod) else 0
            least = min(counts.values(), default=0)
            if constraint.min_domains and len(counts) < constraint.min_domains:
                least = 0
            if counts.get(value, 0) + own - least > constraint.max_skew:
                return Refusal((SPREAD,), resolvable=True)
        for term, values in self._near:
            if term.topology_key not in labels:
                return Refusal((AFFINITY,))
            if labels[term.topology_key] not in values and not self._first:
                return Refusal((AFFINITY,))
        for term, values in self._far:
            if labels.get(term.topology_key) in values:
                return Refusal((ANTI_AFFINITY,), resolvable=True)
        if any(labels.get(key) == value for key, value in self._kept_away):
            return Refusal((EXISTING_ANTI_AFFINITY,), resolvable=True)
        return None


def _counts(constraint: TopologySpreadConstraint, owner: Pod, other: Pod) -> bool:
    if constraint.label_selector is None or other.metadata.namespace != owner.metadata.namespace:
        return False
    chosen = _with_label_keys(constraint.label_selector, constraint.match_label_keys, owner, "In")
    return selectors.from_object(chosen).matches(other.metadata.labels)


def _spread_counts(
    constraint: TopologySpreadConstraint, pod: Pod, placed: Sequence[Placed], nodes: Sequence[Node]
) -> Mapping[str, int]:
    """Matching Pods per value of the topology key, over the nodes that count."""
    counts: Counter[str] = Counter()
    for node in nodes:
        value = node.metadata.labels.get(constraint.topology_key)
        if value is not None and _node_counts(constraint, pod, node):
            counts[value] += 0
    for p in placed:
        value = p.node.metadata.labels.get(constraint.topology_key)
        if (
            value is not None
            and value in counts
            and not p.pod.metadata.deletion_timestamp
            and _counts(constraint, pod, p.pod)
        ):
            counts[value] += 1
    return counts


def _node_counts(constraint: TopologySpreadConstraint, pod: Pod, node: Node) -> bool:
    if (constraint.node_affinity_policy or "Honor") == "Honor" and not matches_affinity(pod, node):
        return False
    if constraint.node_taints_policy == "Honor":
        hard = (t for t in node.spec.taints if t.effect in ("NoSchedule", "NoExecute"))
        return all(tolerates(pod.spec.tolerations, t) for t in hard)
    return True

"""One Pod and all nodes: where it goes, or why nowhere; pure.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one.go, framework/types.go (FitError), .../preemption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.controllers.nodematch import term_holds
from kvtui.controllers.standins.scheduler.filters import Refusal, check_node, tolerates
from kvtui.controllers.standins.scheduler.neighbours import Neighbours, Placed, term_matches
from kvtui.controllers.standins.scheduler.requests import Amounts, allocatable, pod_requests, shortages
from kvtui.controllers.standins.scheduler.volumes import PodVolumes

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"

Priority = Callable[[Pod], int]


@dataclass(frozen=True, slots=True)
class Victims:
    """Pods that would have to go from a node."""

    node: str
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """A node, or the message of condition PodScheduled, perhaps with Pods to remove first."""

    node: str = ""
    message: str = ""
    victims: Victims | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known when a decision is made."""

    nodes: Sequence[Node]
    used: Callable[[str], Amounts]
    placed: Sequence[Placed]
    """Only filled when rules about other Pods are involved."""
    on_node: Callable[[str], Sequence[Pod]]
    neighbours: Neighbours
    volumes: PodVolumes
    priority: Priority
    refusals: dict[str, Refusal] = field(default_factory=dict)


def decide(pod: Pod, cluster: Cluster) -> Decision:
    nodes = cluster.nodes
    if not nodes:
        return Decision(message=f"0/0 nodes are available: {NO_NODES}.")
    if cluster.volumes.problem is not None:
        helpless = f"preemption: 0/{len(nodes)} nodes are available: {len(nodes)} {NOT_HELPFUL}."
        return Decision(message=f"0/{len(nodes)} nodes are available: {cluster.volumes.problem}. {helpless}")
    wanted = pod_requests(pod)
    fitting = []
    for node in nodes:
        refusal = _check(pod, node, wanted, cluster.used(node.metadata.name), cluster)
        if refusal is None:
            fitting.append(node)
        else:
            cluster.refusals[node.metadata.name] = refusal
    if fitting:
        best = min(fitting, key=lambda n: (-score(pod, n, wanted, cluster), n.metadata.name))
        return Decision(node=best.metadata.name)
    victims = _preempt(pod, wanted, cluster)
    return Decision(message=explanation(pod, len(nodes), cluster.refusals), victims=victims)


def _check(pod: Pod, node: Node, wanted: Amounts, used: Amounts, cluster: Cluster) -> Refusal | None:
    refusal = check_node(pod, node)
    if refusal is not None:
        return refusal
    if missing := shortages(wanted, allocatable(node), used):
        # More than the empty node has: nobody's removal would help.
        helpful = not shortages(wanted, allocatable(node), {})
        return Refusal(tuple(missing), resolvable=helpful)
    return cluster.volumes.check(node) or cluster.neighbours.check(node)


def explanation(pod: Pod, total: int, refusals: Mapping[str, Refusal]) -> str:
    """As kube-scheduler writes it: how many nodes for which reasons, and why preemption does not help."""
    reasons = Counter(reason for refusal in refusals.values() for reason in refusal.reasons)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    text = f"0/{total} nodes are available: {listed}."
    if pod.spec.preemption_policy == "Never":
        return f"{text} preemption: not eligible due to preemptionPolicy=Never."
    chances = Counter(NO_VICTIMS if refusal.resolvable else NOT_HELPFUL for refusal in refusals.values())
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in chances.items()))
    return f"{text} preemption: 0/{total} nodes are available: {listed}."


def _preempt(pod: Pod, wanted: Amounts, cluster: Cluster) -> Victims | None:
    """The node where the fewest and least important Pods have to go for this one."""
    own = cluster.priority(pod)
    if pod.spec.preemption_policy == "Never":
        return None
    options: list[tuple[tuple[int, int, int, str], Victims]] = []
    for node in cluster.nodes:
        name = node.metadata.name
        if not cluster.refusals[name].resolvable:
            continue
        chosen = _victims_on(pod, node, wanted, own, cluster)
        if chosen:
            ranks = [cluster.priority(p) for p in chosen]
            options.append(((max(ranks), sum(ranks), len(chosen), name), Victims(name, tuple(chosen))))
    return min(options, key=lambda o: o[0])[1] if options else None


def _victims_on(pod: Pod, node: Node, wanted: Amounts, own: int, cluster: Cluster) -> list[Pod]:
    lower = [p for p in cluster.on_node(node.metadata.name) if cluster.priority(p) < own]
    lower.sort(key=lambda p: (cluster.priority(p), p.metadata.name))
    used = dict(cluster.used(node.metadata.name))
    room = allocatable(node)
    chosen: list[Pod] = []
    for victim in lower:
        if not shortages(wanted, room, used):
            break
        freed = {**pod_requests(victim), "pods": 1}
        used = {n: v - freed.get(n, 0) for n, v in used.items()}
        chosen.append(victim)
    return chosen if not shortages(wanted, room, used) else []


def score(pod: Pod, node: Node, wanted: Amounts, cluster: Cluster) -> float:
    """Higher is better: free room, preferred nodes and neighbours, tolerable taints."""
    room, used = allocatable(node), cluster.used(node.metadata.name)
    shares = [1 - (used.get(n, 0) + wanted.get(n, 0)) / room[n] for n in ("cpu", "memory") if room.get(n, 0) > 0]
    total = 100 * sum(shares) / max(len(shares), 1)
    total += _preferred_node(pod, node)
    total += _preferred_neighbours(pod, node, cluster.placed)
    soft = (t for t in node.spec.taints if t.effect == "PreferNoSchedule")
    return total - 100 * sum(not tolerates(pod.spec.tolerations, t) for t in soft)


def _preferred_node(pod: Pod, node: Node) -> int:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = affinity.preferred_during_scheduling_ignored_during_execution if affinity else []
    return sum(term.weight for term in terms if term_holds(term.preference, node))


def _preferred_neighbours(pod: Pod, node: Node, placed: Iterable[Placed]) -> int:
    affinity = pod.spec.affinity
    if affinity is None:
        return 0
    near = affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution if affinity.pod_affinity else []
    anti = affinity.pod_anti_affinity
    far = anti.preferred_during_scheduling_ignored_during_execution if anti else []
    signed = [(1, term) for term in near] + [(-1, term) for term in far]
    if not signed:
        return 0
    total = 0
    labels = node.metadata.labels
    for p in placed:
        for sign, weighted in signed:
            term = weighted.pod_affinity_term
            there = p.node.metadata.labels.get(term.topology_key)
            together = there is not None and there == labels.get(term.topology_key)
            if together and term_matches(term, pod, p.pod, lambda _: None):
                total += sign * weighted.weight
    return total

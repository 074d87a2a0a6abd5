"""What a Pod asks of a node, and what a node has left.

Source: k8s.io/kubernetes/pkg/api/v1/resource (PodRequests), pkg/scheduler/framework (NodeInfo).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvtui.api import quantity
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.wire import Quantity
from kvtui.controllers.virtualmachineinstance.pods import is_final

Amounts = dict[str, int]
"""Resource -> thousandths of CPU, bytes or pieces."""

DEFAULT_PODS = 110
CPU_MANAGER = "kubevirt.io/cpumanager"
EXCLUSIVE_CPU = "kvtui.io/exclusive-cpu"
"""Resource of a node: CPUs that can be one Pod's alone. Nobody asks for it by name, as no Pod does of a kubelet."""


def amounts(values: Mapping[str, Quantity]) -> Amounts:
    return {n: quantity.milli(v) if n == "cpu" else quantity.value(v) for n, v in values.items()}


def _plus(left: Amounts, right: Amounts) -> Amounts:
    return {n: left.get(n, 0) + right.get(n, 0) for n in left.keys() | right.keys()}


def _most(left: Amounts, right: Amounts) -> Amounts:
    return {n: max(left.get(n, 0), right.get(n, 0)) for n in left.keys() | right.keys()}


def pod_requests(pod: Pod) -> Amounts:
    """The sum of containers and sidecars, or the largest init container beside the sidecars started before it."""
    running: Amounts = {}
    for container in pod.spec.containers:
        running = _plus(running, amounts(container.resources.requests))
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in pod.spec.init_containers:
        wanted = amounts(container.resources.requests)
        if container.restart_policy == "Always":
            sidecars = _plus(sidecars, wanted)
            starting = _most(starting, sidecars)
        else:
            starting = _most(starting, _plus(sidecars, wanted))
    own = exclusive(pod)
    more = {EXCLUSIVE_CPU: own} if own else {}
    return _plus(_plus(_most(_plus(running, sidecars), starting), amounts(pod.spec.overhead)), more)


def exclusive(pod: Pod) -> int:
    """CPUs that a node's CPU manager gives to the Pod alone: what its containers ask for in whole CPUs."""
    if pod.spec.node_selector.get(CPU_MANAGER) != "true":
        return 0
    found = (quantity.milli(c.resources.limits.get("cpu", 0)) for c in pod.spec.containers)
    return sum(milli // 1000 for milli in found if milli % 1000 == 0)


def pod_limits(pod: Pod) -> Amounts:
    """The sum over containers and sidecars."""
    total: Amounts = {}
    for container in pod.spec.containers:
        total = _plus(total, amounts(container.resources.limits))
    for container in pod.spec.init_containers:
        if container.restart_policy == "Always":
            total = _plus(total, amounts(container.resources.limits))
    return total


@dataclass(slots=True)
class Usage:
    """What is used per node, kept up with every change of a Pod instead of being summed up for each decision."""

    by_node: dict[str, Amounts] = field(default_factory=dict)
    _placed: dict[str, tuple[str, Amounts]] = field(default_factory=dict)

    def place(self, pod: Pod, node: str) -> None:
        self.remove(pod.metadata.uid)
        if is_final(pod) or not node:
            return
        wanted = {**pod_requests(pod), "pods": 1}
        self._placed[pod.metadata.uid] = (node, wanted)
        self.by_node[node] = _plus(self.by_node.get(node, {}), wanted)

    def remove(self, uid: str) -> None:
        placed = self._placed.pop(uid, None)
        if placed is not None:
            node, wanted = placed
            self.by_node[node] = _plus(self.by_node[node], {n: -v for n, v in wanted.items()})

    def node_of(self, uid: str) -> str | None:
        placed = self._placed.get(uid)
        return placed[0] if placed is not None else None

    def on(self, node: str) -> Amounts:
        return self.by_node.get(node, {})


def allocatable(node: Node) -> Amounts:
    values = amounts(node.status.allocatable or node.status.capacity)
    values.setdefault("pods", DEFAULT_PODS)
    return values


def shortages(wanted: Amounts, room: Amounts, used: Amounts) -> list[str]:
    """Why a Pod does not fit, resource by resource; empty when it fits."""
    reasons = []
    if used.get("pods", 0) + 1 > room.get("pods", 0):
        reasons.append("Too many pods")
    short = [n for n, value in sorted(wanted.items()) if value > 0 and used.get(n, 0) + value > room.get(n, 0)]
    return reasons + list(dict.fromkeys(f"Insufficient {'cpu' if n == EXCLUSIVE_CPU else n}" for n in short))

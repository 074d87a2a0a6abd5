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
    return _plus(_most(_plus(running, sidecars), starting), amounts(pod.spec.overhead))


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
    reasons += [
        f"Insufficient {name}"
        for name, value in sorted(wanted.items())
        if value > 0 and used.get(name, 0) + value > room.get(name, 0)
    ]
    return reasons

"""Which nodes a Pod may run on, one rule at a time, with kube-scheduler's reasons.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kvtui.api.core.node import Node, Taint
from kvtui.api.core.parts import Toleration
from kvtui.api.core.pod import Pod
from kvtui.controllers.nodematch import selector_holds

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
NODE_AFFINITY = "node(s) didn't match Pod's node affinity/selector"
UNSCHEDULABLE = "node(s) were unschedulable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node will not do. `resolvable`: whether removing other Pods could change that."""

    reasons: tuple[str, ...]
    resolvable: bool = False


def matches_affinity(pod: Pod, node: Node) -> bool:
    labels = node.metadata.labels
    if any(labels.get(key) != value for key, value in pod.spec.node_selector.items()):
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required is None or selector_holds(required, node)


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    for toleration in tolerations:
        if toleration.effect and toleration.effect != taint.effect:
            continue
        if toleration.key and toleration.key != taint.key:
            continue
        if (toleration.operator or "Equal") == "Exists":
            return True
        if toleration.key and (toleration.value or "") == taint.value:
            return True
    return False


def check_node(pod: Pod, node: Node) -> Refusal | None:
    """Rules about the node alone, in kube-scheduler's order; the first that fails speaks."""
    cordoned = Taint(key=UNSCHEDULABLE_TAINT, effect="NoSchedule")
    if node.spec.unschedulable and not tolerates(pod.spec.tolerations, cordoned):
        return Refusal((UNSCHEDULABLE,))
    for taint in node.spec.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(pod.spec.tolerations, taint):
            return Refusal((f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",))
    if not matches_affinity(pod, node):
        return Refusal((NODE_AFFINITY,))
    return None

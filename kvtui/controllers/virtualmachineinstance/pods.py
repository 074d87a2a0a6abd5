"""Which Pod is a VMI's launcher, and what can be said about it.

Source: kubevirt pkg/controller/controller.go (CurrentVMIPod), pkg/virt-controller/watch/vmi/vmi.go; facts 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvtui.api.core.pod import Pod, PodCondition
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.controllers import names

FINAL = ("Succeeded", "Failed")
IMAGE_ERRORS = ("ErrImagePull", "ImagePullBackOff")
SANDBOX_ERROR = "FailedCreatePodSandBox"


def owner_uid(pod: Pod) -> list[str]:
    """Index: uid of the controller of a Pod."""
    owner = pod.metadata.controller
    return [owner.uid] if owner is not None else []


def is_temporary(pod: Pod) -> bool:
    """Only makes the scheduler choose a node for claims that wait for their first consumer."""
    return names.EPHEMERAL_PROVISIONING in pod.metadata.annotations


def is_final(pod: Pod) -> bool:
    return pod.status.phase in FINAL


def condition(pod: Pod, type_: str) -> PodCondition | None:
    return next((c for c in pod.status.conditions if c.type == type_), None)


def is_ready(pod: Pod) -> bool:
    """All that a guest needs is there. The guest's own readiness, a probe on compute, does not count yet."""
    if is_going_down(pod) or pod.status.phase != "Running":
        return False
    return all(
        s.state.running is not None if s.name == "compute" else s.ready or s.name == "istio-proxy"
        for s in pod.status.container_statuses
    )


def is_going_down(pod: Pod) -> bool:
    if is_final(pod) or pod.metadata.deletion_timestamp:
        return True
    return any(s.name == "compute" and s.state.terminated is not None for s in pod.status.container_statuses)


def is_alive(pod: Pod) -> bool:
    """Its containers may still run."""
    statuses = pod.status.container_statuses
    return not is_final(pod) and not (statuses and all(s.state.terminated is not None for s in statuses))


def newest(pods: Iterable[Pod]) -> Pod | None:
    return max(pods, key=lambda p: (p.metadata.creation_timestamp or "", p.metadata.name), default=None)


def current(vmi: VirtualMachineInstance, pods: Sequence[Pod]) -> Pod | None:
    """The newest launcher on the VMI's node, or the newest of all before it has a node.

    A migration's target counts only once the VMI has arrived there.
    """
    node = vmi.status.node_name
    candidates = [p for p in pods if not is_temporary(p)]
    if node:
        return newest(p for p in candidates if p.spec.node_name == node)
    return newest(p for p in candidates if names.MIGRATION_JOB_UID not in p.metadata.labels) or newest(candidates)


def set_up_error(pod: Pod) -> tuple[str, str] | None:
    """(reason, message) when an image or a network cannot be had."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = status.state.waiting
        if waiting is not None and waiting.reason in IMAGE_ERRORS:
            return waiting.reason, waiting.message
        if waiting is not None and waiting.reason == "ContainerCreating" and waiting.message:
            return SANDBOX_ERROR, waiting.message
    return None

"""Status of a Pod as a kubelet writes it, for launchers and workers. Pure.

Patches are strategic: conditions and container statuses merge by their keys, so gates of others stay.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvtui.api.core.pod import Pod

LAUNCHER_LABEL, LAUNCHER = "kubevirt.io", "virt-launcher"
CREATED_BY = "kubevirt.io/created-by"
DOMAIN = "kubevirt.io/domain"
MIGRATION_JOB = "kubevirt.io/migrationJobUID"
WORKER_LABEL = "kvtui.io/worker"
PROVISIONING = "kubevirt.io/ephemeral-provisioning"
READY, CONTAINERS_READY, INITIALIZED = "Ready", "ContainersReady", "Initialized"


def is_launcher(pod: Pod) -> bool:
    return pod.metadata.labels.get(LAUNCHER_LABEL) == LAUNCHER


def is_provisional(pod: Pod) -> bool:
    """Whether a launcher is only there to have its claims bound. Source: kubevirt (temporary provisioning Pod)."""
    return pod.metadata.annotations.get(PROVISIONING) == "true"


def is_worker(pod: Pod) -> bool:
    return WORKER_LABEL in pod.metadata.labels


def is_final(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def gates_open(pod: Pod) -> bool:
    """Whether every readiness gate is True."""
    true = {c.type for c in pod.status.conditions if c.status == "True"}
    return all(gate.condition_type in true for gate in pod.spec.readiness_gates)


def waiting(pod: Pod, reason: str, message: str, *, host: str, now: str) -> dict[str, Any] | None:
    """Pending, with the reason why the container waits."""
    return _changed(
        pod,
        phase="Pending",
        container={"waiting": {"reason": reason, "message": message}},
        ready=False,
        host=host,
        now=now,
    )


def running(
    pod: Pod, ips: Sequence[str], *, host: str, now: str, image_id: str = "", ready: bool = True
) -> dict[str, Any] | None:
    """Running, and Ready when its gates are open; `ready` is what a readiness probe says."""
    started = next((c.state.running.started_at for c in pod.status.container_statuses if c.state.running), None)
    return _changed(
        pod,
        phase="Running",
        container={"running": {"startedAt": started or now}},
        ready=ready,
        host=host,
        now=now,
        ips=ips,
        image_id=image_id,
    )


def ended(pod: Pod, *, exit_code: int, reason: str, message: str, host: str, now: str) -> dict[str, Any] | None:
    """Succeeded or Failed."""
    started = next((c.state.running.started_at for c in pod.status.container_statuses if c.state.running), None)
    state: dict[str, Any] = {"exitCode": exit_code, "reason": reason, "message": message, "finishedAt": now}
    if started:
        state["startedAt"] = started
    return _changed(
        pod,
        phase="Failed" if exit_code else "Succeeded",
        container={"terminated": state},
        ready=False,
        host=host,
        now=now,
    )


def refused(pod: Pod, *, now: str) -> dict[str, Any]:
    """For a Pod that is neither launcher nor worker."""
    return {
        "status": {
            "phase": "Failed",
            "reason": "UnsupportedPod",
            "message": "This node runs virtual machines and image workers only; it has no container runtime.",
            "startTime": now,
        }
    }


NOT_ADMITTED = "UnexpectedAdmissionError"


def not_admitted(pod: Pod, message: str, *, now: str) -> dict[str, Any]:
    """For a launcher whose CPUs this node can never give. Source: k8s.io/kubernetes/pkg/kubelet (rejectPod)."""
    told = f"Pod was rejected: {message}"
    return {"status": {"phase": "Failed", "reason": NOT_ADMITTED, "message": told, "startTime": now}}


def _changed(
    pod: Pod,
    *,
    phase: str,
    container: dict[str, Any],
    ready: bool,
    host: str,
    now: str,
    ips: Sequence[str] = (),
    image_id: str = "",
) -> dict[str, Any] | None:
    """The patch, or None where the status already says so."""
    final = phase in ("Succeeded", "Failed")
    gates = gates_open(pod)
    conditions = {
        INITIALIZED: (True, "PodCompleted" if final else ""),
        CONTAINERS_READY: (ready, "" if ready else _reason(phase)),
        READY: (ready and gates, "" if ready and gates else "ReadinessGatesNotReady" if ready else _reason(phase)),
    }
    old = {c.type: (c.status == "True", c.reason) for c in pod.status.conditions}
    status: dict[str, Any] = {}
    fresh = [
        {
            "type": kind,
            "status": "True" if value else "False",
            "reason": reason or None,
            "lastTransitionTime": now if kind not in old or old[kind][0] != value else _since(pod, kind, now),
        }
        for kind, (value, reason) in conditions.items()
        if old.get(kind) != (value, reason)
    ]
    if fresh:
        status["conditions"] = fresh
    if pod.status.phase != phase:
        status["phase"] = phase
    if not pod.status.start_time:
        status |= {"startTime": now, "hostIP": host}
    if ips and [ip.ip for ip in pod.status.pod_ips] != list(ips):
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if pod.spec.containers and not _same_state(pod, container, ready=ready):
        common = {
            "imageID": image_id,
            "containerID": f"kvtui://{pod.metadata.uid}" if phase != "Pending" else "",
            "ready": ready,
            "started": phase == "Running",
            "restartCount": 0,
            "state": {"waiting": None, "running": None, "terminated": None} | container,
        }
        first = pod.spec.containers[0]
        status["containerStatuses"] = [{"name": first.name, "image": first.image, **common}]
        # What a sidecar does upstream (tailing the console, say) the agent does, so it fares as the launcher does.
        if sidecars := [c for c in pod.spec.init_containers if c.restart_policy == "Always"]:
            status["initContainerStatuses"] = [{"name": c.name, "image": c.image, **common} for c in sidecars]
    return {"status": status} if status else None


def _reason(phase: str) -> str:
    return "PodCompleted" if phase in ("Succeeded", "Failed") else "ContainersNotReady"


def _since(pod: Pod, kind: str, now: str) -> str:
    return next((c.last_transition_time for c in pod.status.conditions if c.type == kind), None) or now


def _same_state(pod: Pod, wanted: dict[str, Any], *, ready: bool) -> bool:
    found = next(iter(pod.status.container_statuses), None)
    if found is None:
        return False
    if "running" in wanted:
        return found.state.running is not None and found.ready is ready
    if "waiting" in wanted:
        state = found.state.waiting
        return state is not None and (state.reason, state.message) == (
            wanted["waiting"]["reason"],
            wanted["waiting"]["message"],
        )
    return found.state.terminated is not None

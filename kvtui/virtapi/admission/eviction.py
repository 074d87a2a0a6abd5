"""Evictions of launcher Pods: the guest moves away instead, and whoever drains asks again.

Source: control plane facts 8.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.admission import Denied
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.virtapi.admission.view import cluster_config

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView

DOMAIN = "kubevirt.io/domain"
LAUNCHER, HOTPLUG = "virt-launcher", "hp-volume-"
REQUESTED_BY, DESCHEDULER = "requested-by", "sigs.k8s.io/descheduler"
EVICTION_SOURCE = "kubevirt.io/eviction-source"
FINAL = ("Succeeded", "Failed")


class Evacuates(Denied):
    """Refused for now, after the instance has been marked: `patch` is a JSON patch of the VMI."""

    def __init__(self, message: str, namespace: str, name: str, patch: list[dict[str, Any]]) -> None:
        super().__init__(message, code=429, reason="TooManyRequests")
        self.namespace = namespace
        self.name = name
        self.patch = patch


def _later(message: str) -> Denied:
    return Denied(message, code=429, reason="TooManyRequests")


def validate_launcher(call: Call, view: ClusterView) -> list[str]:
    """Raises Denied (429), or Evacuates when the instance can move."""
    namespace, name = call.request.namespace, call.request.name
    if not name.startswith(LAUNCHER):
        return []
    pod = view.find(Pod, namespace, name)
    domain = pod.metadata.annotations.get(DOMAIN) if pod is not None else None
    if pod is None or not domain or pod.status.phase in FINAL:
        return []
    vmi = view.find(VirtualMachineInstance, namespace, domain)
    if vmi is None or vmi.status.phase in FINAL:
        return []
    if not _moves(vmi, view):
        return []
    key = f'"{namespace}/{vmi.metadata.name}"'
    if pod.spec.node_name != vmi.status.node_name:
        raise _later("Eviction request for target Pod")
    if vmi.status.evacuation_node_name:
        raise _later(f"Evacuation in progress: Eviction triggered evacuation of VMI {key}")
    raise Evacuates(
        f"Eviction triggered evacuation of VMI {key}", namespace, vmi.metadata.name, mark(vmi, _annotations(call))
    )


def _annotations(call: Call) -> dict[str, str]:
    return (call.data.get("metadata") or {}).get("annotations") or {}


def _moves(vmi: VirtualMachineInstance, view: ClusterView) -> bool:
    """Whether the eviction becomes a move. Raises Denied when it must neither move nor die."""
    strategy = vmi.spec.eviction_strategy or cluster_config(view).configuration.eviction_strategy or "None"
    migratable = any(c.type == "LiveMigratable" and c.status == "True" for c in vmi.status.conditions)
    match strategy:
        case "LiveMigrate" if not migratable:
            name = vmi.metadata.name
            raise _later(f"VMI {name} is configured with an eviction strategy but is not live-migratable")
        case "LiveMigrate" | "External":
            return True
        case "LiveMigrateIfPossible":
            return migratable
        case _:
            return False


def mark(vmi: VirtualMachineInstance, eviction_annotations: dict[str, str]) -> list[dict[str, Any]]:
    """Remembers the node that has to be left, and that a descheduler asked."""
    node = vmi.status.node_name or ""
    patch: list[dict[str, Any]] = [{"op": "add", "path": "/status/evacuationNodeName", "value": node}]
    if eviction_annotations.get(REQUESTED_BY) == DESCHEDULER:
        if not vmi.metadata.annotations:
            patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        path = "/metadata/annotations/" + EVICTION_SOURCE.replace("/", "~1")
        patch.append({"op": "add", "path": path, "value": "descheduler"})
    return patch


def validate_hotplug(call: Call, view: ClusterView) -> list[str]:
    """A Pod that holds volumes for a living instance stays. Raises Denied (429)."""
    namespace, name = call.request.namespace, call.request.name
    if not name.startswith(HOTPLUG):
        return []
    pod = view.find(Pod, namespace, name)
    owner = pod.metadata.controller if pod is not None else None
    if owner is None or owner.kind != "Pod":
        return []
    launcher = view.find(Pod, namespace, owner.name)
    domain = launcher.metadata.annotations.get(DOMAIN) if launcher is not None else None
    vmi = view.find(VirtualMachineInstance, namespace, domain) if domain else None
    if vmi is not None and vmi.status.phase not in FINAL:
        raise _later(f"cannot evict hotplug pod {name} while VMI {vmi.metadata.name} is alive")
    return []

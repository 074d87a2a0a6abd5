"""Valid objects for tests of controllers; a test names only what matters to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NAMESPACE = "default"

Json = dict[str, Any]


def merged(base: Json, over: Json) -> Json:
    """Maps are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        result[key] = merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def guest(**domain: Any) -> Json:
    """A small VMI spec."""
    base: Json = {
        "domain": {
            "cpu": {"sockets": 1, "cores": 1, "threads": 1, "maxSockets": 4},
            "memory": {"guest": "1Gi", "maxGuest": "4Gi"},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "emptyDisk": {"capacity": "1Gi"}}],
    }
    return merged(base, {"domain": domain})


def vm(name: str = "web", *, strategy: str = "Always", status: Json | None = None, **over: Any) -> VirtualMachine:
    base: Json = {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": "vm-uid",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T11:00:00Z",
        },
        "spec": {"runStrategy": strategy, "template": {"metadata": {"labels": {"app": name}}, "spec": guest()}},
        "status": status or {},
    }
    return from_wire(merged(base, over), VirtualMachine)


def vmi(
    name: str = "web", *, phase: str = "Running", status: Json | None = None, **over: Any
) -> VirtualMachineInstance:
    base: Json = {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": "vmi-uid",
            "resourceVersion": "1",
            "annotations": {"kubevirt.io/vm-generation": "1"},
            "ownerReferences": [
                {
                    "apiVersion": "kubevirt.io/v1",
                    "kind": "VirtualMachine",
                    "name": name,
                    "uid": "vm-uid",
                    "controller": True,
                }
            ],
        },
        "spec": guest(),
        "status": merged({"phase": phase}, status or {}),
    }
    if phase in ("Running", "Scheduled"):
        base["status"].setdefault("nodeName", "node-1")
    if phase == "Running":
        base["status"].setdefault(
            "phaseTransitionTimestamps",
            [{"phase": "Running", "phaseTransitionTimestamp": "2026-03-01T11:30:00Z"}],
        )
    return from_wire(merged(base, over), VirtualMachineInstance)


def launcher(
    name: str = "virt-launcher-web-abcde",
    *,
    node: str = "node-1",
    phase: str = "Running",
    conditions: dict[str, str] | None = None,
    **over: Any,
) -> Pod:
    base: Json = {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"{name}-uid",
            "creationTimestamp": "2026-03-01T11:20:00Z",
            "labels": {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": "vmi-uid"},
            "annotations": {"kubevirt.io/domain": "web"},
            "ownerReferences": [
                {
                    "apiVersion": "kubevirt.io/v1",
                    "kind": "VirtualMachineInstance",
                    "name": "web",
                    "uid": "vmi-uid",
                    "controller": True,
                }
            ],
        },
        "spec": {"nodeName": node, "containers": [{"name": "compute", "image": "kvtui.io/launcher"}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": t, "status": s} for t, s in (conditions or {"Ready": "True"}).items()],
        },
    }
    return from_wire(merged(base, over), Pod)


def pod(name: str = "p", *, cpu: str = "100m", memory: str = "1Gi", node: str = "", **over: Any) -> Pod:
    """A Pod that is to be scheduled, or is."""
    base: Json = {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"{name}-uid", "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "compute", "resources": {"requests": {"cpu": cpu, "memory": memory}}}],
        },
        "status": {"phase": "Running" if node else "Pending"},
    }
    return from_wire(merged(base, over), Pod)


def node(name: str = "node-1", *, cpu: str = "4", memory: str = "8Gi", **over: Any) -> Node:
    base: Json = {
        "metadata": {"name": name, "uid": f"{name}-uid", "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-03-01T12:00:00Z"}],
        },
    }
    return from_wire(merged(base, over), Node)


def migration(
    name: str = "move", *, phase: str = "", status: Json | None = None, **over: Any
) -> VirtualMachineInstanceMigration:
    base: Json = {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"{name}-uid",
            "resourceVersion": "1",
            "creationTimestamp": "2026-03-01T11:59:00Z",
        },
        "spec": {"vmiName": "web"},
        "status": merged({"phase": phase} if phase else {}, status or {}),
    }
    return from_wire(merged(base, over), VirtualMachineInstanceMigration)

"""Objects for tests and screenshots of the screen: valid, and only what matters is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import Event, Namespace
from kvtui.api.core.node import Node
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.times import to_time
from kvtui.api.wire import from_wire

NOW = datetime(2026, 1, 31, 12, 4, 0, tzinfo=UTC)


def fixed_clock() -> datetime:
    return NOW


def ago(**units: float) -> str:
    """A wire time so long before NOW."""
    return to_time(NOW - timedelta(**units))


def meta(name: str, namespace: str = "default", *, age: str = "", **more: Any) -> dict[str, Any]:
    found = {"name": name, "uid": f"uid-{namespace}-{name}", "creationTimestamp": age or ago(days=2), **more}
    return found | ({"namespace": namespace} if namespace else {})


def _template(memory: str, cores: int) -> dict[str, Any]:
    return {
        "domain": {
            "cpu": {"cores": cores},
            "memory": {"guest": memory},
            "devices": {
                "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                "interfaces": [{"name": "default", "masquerade": {}}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "containerDisk": {"image": "registry.example/guest:1"}}],
    }


def vm(
    name: str,
    status: str = "Stopped",
    *,
    namespace: str = "default",
    strategy: str = "Manual",
    memory: str = "2Gi",
    cores: int = 1,
    age: str = "",
    labels: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
) -> VirtualMachine:
    data = {
        "metadata": meta(name, namespace, age=age, labels=labels or {}),
        "spec": {"runStrategy": strategy, "template": {"spec": {**_template(memory, cores), **(spec or {})}}},
        "status": {
            "printableStatus": status,
            "ready": status == "Running",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if status == "Running" else "False",
                    "lastTransitionTime": ago(hours=3),
                }
            ],
        },
    }
    return from_wire(data, VirtualMachine)


def vmi(
    name: str,
    phase: str = "Running",
    *,
    namespace: str = "default",
    node: str = "node-a",
    ip: str = "10.0.1.31",
    memory: str = "2Gi",
    cores: int = 1,
    paused: bool = False,
    migratable: bool | None = True,
    age: str = "",
) -> VirtualMachineInstance:
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ago(hours=2)}]
    if paused:
        conditions.append({"type": "Paused", "status": "True", "reason": "PausedByUser"})
    if migratable is not None:
        conditions.append(
            {"type": "LiveMigratable", "status": "True"}
            if migratable
            else {"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable",
                  "message": "cannot migrate VMI: PVC root is not shared"}
        )  # fmt: skip
    data = {
        "metadata": meta(name, namespace, age=age),
        "spec": _template(memory, cores),
        "status": {
            "phase": phase,
            "nodeName": node,
            "conditions": conditions,
            "interfaces": [{"name": "default", "ipAddress": ip, "ipAddresses": [ip], "mac": "52:54:00:1f:0a:31"}],
            "phaseTransitionTimestamps": [{"phase": phase, "phaseTransitionTimestamp": ago(days=2)}],
            "volumeStatus": [{"name": "root", "target": "vda"}],
        },
    }
    return from_wire(data, VirtualMachineInstance)


def running(name: str, **options: Any) -> list[Resource]:
    """A VM and its instance."""
    own = {k: options.pop(k) for k in ("ip", "node", "migratable") if k in options}
    status = options.pop("status", "Running")
    return [
        vm(name, status, **options),
        vmi(name, paused=status == "Paused", memory=options.get("memory", "2Gi"), cores=options.get("cores", 1),
            namespace=options.get("namespace", "default"), **own),
    ]  # fmt: skip


def progress(remaining: float, *, total: float = 4 * 2**30, rate: float = 112 * 2**20, dirty: float = 20 * 2**20,
             iteration: int = 2, at: datetime = NOW) -> str:  # fmt: skip
    """The annotation with the numbers of a migration."""
    return json.dumps(
        {
            "timestamp": at.isoformat(), "elapsed": 12000, "total": total, "remaining": remaining,
            "processed": total - remaining, "rate": rate, "dirtyRate": dirty, "iteration": iteration,
            "downtime": 310, "mode": "PreCopy",
        }
    )  # fmt: skip


def migration(
    name: str,
    vmi_name: str,
    phase: str = "Running",
    *,
    source: str = "node-a",
    target: str = "node-b",
    numbers: str = "",
    age: str = "",
    failure: str = "",
) -> VirtualMachineInstanceMigration:
    state: dict[str, Any] = {"sourceNode": source, "targetNode": target, "startTimestamp": age or ago(seconds=72)}
    if phase in ("Succeeded", "Failed"):
        state |= {"endTimestamp": ago(seconds=30), "completed": True}
    if failure:
        state |= {"failed": True, "failureReason": failure}
    annotations = {"kvtui.io/migration-progress": numbers} if numbers else {}
    phases = ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running"]
    stamps = [
        {"phase": p, "phaseTransitionTimestamp": ago(seconds=72 - 3 * i)}
        for i, p in enumerate(phases)
        if phase in phases and i <= phases.index(phase)
    ]
    data = {
        "metadata": meta(name, age=age or ago(seconds=72), annotations=annotations),
        "spec": {"vmiName": vmi_name},
        "status": {"phase": phase, "migrationState": state, "phaseTransitionTimestamps": stamps},
    }
    return from_wire(data, VirtualMachineInstanceMigration)


def data_volume(
    name: str, phase: str = "Succeeded", *, progress: str = "100.0%", url: str = "https://images.example/fedora.qcow2",
    size: str = "5Gi", restarts: int = 0, error: str = "",
) -> DataVolume:  # fmt: skip
    conditions = [{"type": "Running", "status": "False", "reason": "Error", "message": error}] if error else []
    data = {
        "metadata": meta(name),
        "spec": {
            "source": {"http": {"url": url}},
            "storage": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        },
        "status": {"phase": phase, "progress": progress, "restartCount": restarts, "conditions": conditions},
    }
    return from_wire(data, DataVolume)


def node(name: str, *, accelerator: str = "kvm", cordoned: bool = False, ready: bool = True) -> Node:
    data = {
        "metadata": meta(name, "", labels={"kvtui.io/accelerator": accelerator, "kubernetes.io/hostname": name}),
        "spec": {"unschedulable": cordoned},
        "status": {
            "allocatable": {"cpu": "8", "memory": "16Gi"},
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": ago(days=1)}
            ],
            "addresses": [{"type": "InternalIP", "address": "10.77.1.1"}],
            "nodeInfo": {
                "kernelVersion": "6.1.0",
                "osImage": "Debian 12",
                "architecture": "amd64",
                "operatingSystem": "linux",
                "bootID": "b",
                "machineID": "m",
                "systemUUID": "u",
                "containerRuntimeVersion": "kvtui://0.1.0",
                "kubeProxyVersion": "v1.33.0",
                "kubeletVersion": "v1.33.0",
            },
        },
    }
    return from_wire(data, Node)


def event(name: str, about: str, reason: str, message: str, *, type_: str = "Normal", kind: str = "VirtualMachine",
          at: str = "", count: int = 1) -> Event:  # fmt: skip
    data = {
        "metadata": meta(name),
        "involvedObject": {"kind": kind, "namespace": "default", "name": about},
        "type": type_,
        "reason": reason,
        "message": message,
        "count": count,
        "lastTimestamp": at or ago(minutes=3),
        "source": {"component": "virt-controller"},
    }
    return from_wire(data, Event)


def namespace(name: str) -> Namespace:
    return from_wire({"metadata": meta(name, "")}, Namespace)


def wireframe() -> list[Resource]:
    """The fixture of the interaction design: its VMs and nodes."""
    return [
        namespace("default"),
        namespace("team-a"),
        node("node-a"),
        node("node-b"),
        node("node-c", cordoned=True),
        vm("batch-07", age=ago(days=4)),
        *running("db-01", ip="10.0.1.21", memory="4Gi", cores=2, strategy="Always", age=ago(days=12)),
        *running("db-02", ip="10.0.1.22", memory="4Gi", cores=2, strategy="Always", age=ago(days=12)),
        *running("web-01", ip="10.0.1.31", labels={"app": "web"}),
        *running("web-02", ip="10.0.1.32", status="Paused", labels={"app": "web"}),
        *running("web-03", ip="10.0.1.33", labels={"app": "web"}, migratable=False),
        vm("win-11", "CrashLoopBackOff", age=ago(hours=6), memory="8Gi", cores=4),
        vm("gpu-01", namespace="team-a"),
        migration("mig-db-02", "db-02", numbers=progress(1.7 * 2**30)),
        migration("mig-old", "web-01", "Succeeded", age=ago(hours=3)),
        data_volume("fedora"),
        data_volume("import-1", "ImportInProgress", progress="61.0%"),
        data_volume("broken", "ImportInProgress", progress="N/A", restarts=3, error="404 Not Found from https://images.example/x"),
        event("e1", "db-01", "Migrated", "The VM moved from node-b to node-a in 41 s", at=ago(minutes=6)),
        event("e2", "web-03", "GuestMemoryHigh", "guest memory 95 % for 10 min", type_="Warning", at=ago(minutes=1)),
        event("e3", "win-11", "Crashed", "the guest stopped three times", type_="Warning", at=ago(minutes=2), count=3),
    ]  # fmt: skip

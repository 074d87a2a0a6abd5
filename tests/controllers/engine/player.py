"""Plays kubelet and node agent for one or two nodes, step by step, as a test tells it to."""

from __future__ import annotations

from typing import Any

from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.times import to_time
from kvtui.api.wire import to_wire
from kvtui.client.rest import Patch
from kvtui.controllers import names
from tests.controllers.plane import Plane

ROOM = {
    "cpu": "16",
    "memory": "64Gi",
    "pods": "110",
    "ephemeral-storage": "100Gi",
    **{f"devices.kubevirt.io/{d}": "1k" for d in ("kvm", "tun", "vhost-net")},
}
NAMESPACE = "default"


async def join(plane: Plane, name: str, **labels: str) -> None:
    """A node that is ready for VMs."""
    meta = ObjectMeta(
        name=name,
        labels={
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubevirt.io/schedulable": "true",
            "machine-type.node.kubevirt.io/q35": "true",
            "host-model-cpu.node.kubevirt.io/Skylake": "true",
            "cpu-model-migration.node.kubevirt.io/Skylake": "true",
            **labels,
        },
        annotations={names.HEARTBEAT: to_time(plane.clock())},
    )
    await plane.client.create(Node(metadata=meta))
    await beat(plane, name)


async def beat(plane: Plane, name: str) -> None:
    moment = to_time(plane.clock())
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": moment}
    status = {"capacity": ROOM, "allocatable": ROOM, "conditions": [ready]}
    await plane.client.patch(Node, ("", name), {"status": status}, subresource="status")


async def launcher_of(plane: Plane, vmi: VirtualMachineInstance, *, of: str = "") -> Pod:
    """The VMI's Pod once it has a node; `of` is the uid of the migration whose target is meant."""
    selector = f"{names.CREATED_BY}={vmi.metadata.uid}"
    selector += f",{names.MIGRATION_JOB_UID}={of}" if of else f",!{names.MIGRATION_JOB_UID}"

    def placed(pod: Pod) -> bool:
        return bool(pod.spec.node_name) and not pod.metadata.deletion_timestamp

    listed = await plane.client.list(Pod, NAMESPACE, label_selector=selector)
    for pod in listed.items:
        if placed(pod):
            return pod
    watch = plane.client.watch(
        Pod, NAMESPACE, resource_version=listed.resource_version, label_selector=selector, timeout=20
    )
    try:
        async for event in watch:
            if event.object is not None and event.type != "DELETED" and placed(event.object):
                return event.object
    finally:
        await watch.aclose()
    raise AssertionError("no launcher was scheduled")


async def set_pod(plane: Plane, pod: Pod, phase: str, *, ready: bool) -> None:
    """What a kubelet says about a Pod."""
    state: dict[str, Any] = {"running": {}} if phase == "Running" else {"terminated": {"exitCode": 0}}
    statuses = [{"name": c.name, "ready": ready, "state": state} for c in pod.spec.containers]
    conditions = [
        {"type": t, "status": "True" if ready or t == "PodScheduled" else "False"}
        for t in ("Initialized", "ContainersReady", "Ready", "PodScheduled")
    ]
    status = {
        "phase": phase,
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "containerStatuses": statuses,
        "conditions": conditions,
    }
    await plane.client.patch(Pod, pod.key, {"status": status}, how=Patch.STRATEGIC, subresource="status")


async def set_vmi(plane: Plane, name: str, **status: Any) -> VirtualMachineInstance:
    """What the agent says about a VMI; it may write its status, as the controllers may."""
    client = plane.context.client
    if phase := status.get("phase"):
        present = await client.get(VirtualMachineInstance, (NAMESPACE, name))
        stamp = {"phase": phase, "phaseTransitionTimestamp": to_time(plane.clock())}
        stamps = [to_wire(t) for t in present.status.phase_transition_timestamps]
        status["phaseTransitionTimestamps"] = [*stamps, stamp]
    return await client.patch(VirtualMachineInstance, (NAMESPACE, name), {"status": status})


async def boot(plane: Plane, name: str) -> VirtualMachineInstance:
    """From an instance that waits for its launcher to one that runs and can migrate."""
    vmi = await plane.until(VirtualMachineInstance, (NAMESPACE, name), lambda v: v is not None)
    assert vmi is not None
    pod = await launcher_of(plane, vmi)
    await set_pod(plane, pod, "Running", ready=True)
    await plane.until(
        VirtualMachineInstance, (NAMESPACE, name), lambda v: v is not None and v.status.phase == "Scheduled"
    )
    found = await set_vmi(plane, name, phase="Running")
    others = [to_wire(c) for c in found.status.conditions if c.type != "LiveMigratable"]
    return await set_vmi(plane, name, conditions=[*others, {"type": "LiveMigratable", "status": "True"}])

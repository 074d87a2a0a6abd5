"""Valid objects for tests of the node; callers name only what matters to them."""

from __future__ import annotations

from typing import Any

from kvtui.api.core.pod import Container, Pod, PodReadinessGate, PodSpec
from kvtui.api.kubevirt.domain import (
    CPU,
    Devices,
    Disk,
    DiskTarget,
    DomainSpec,
    Firmware,
    Interface,
    InterfaceMasquerade,
    Machine,
    Memory,
)
from kvtui.api.kubevirt.vmi import (
    EmptyDiskSource,
    Network,
    PodNetwork,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus,
    Volume,
)
from kvtui.api.meta import ObjectMeta
from kvtui.node.state import Record, Stage

UUID = "0a5b5cb6-3a5c-4d7f-9c39-0f6c4c7f2b11"
UID = "7f0c1f4e-0000-4000-8000-000000000001"
NODE = "node-1"


def vmi(
    name: str = "vm1",
    *,
    uid: str = UID,
    status: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    devices: dict[str, Any] | None = None,
    domain: dict[str, Any] | None = None,
    **spec: Any,
) -> VirtualMachineInstance:
    """A VMI with one empty disk and the pod network."""
    volumes = spec.pop("volumes", [Volume(name="scratch", empty_disk=EmptyDiskSource(capacity="8Mi"))])
    disks = [Disk(name=v.name, disk=DiskTarget(bus="virtio")) for v in volumes]
    chosen: dict[str, Any] = {
        "disks": disks,
        "interfaces": [Interface(name="default", masquerade=InterfaceMasquerade())],
        **(devices or {}),
    }
    return VirtualMachineInstance(
        metadata=ObjectMeta(name=name, namespace="default", uid=uid, **(meta or {})),
        spec=VirtualMachineInstanceSpec(
            domain=DomainSpec(
                **{
                    "firmware": Firmware(uuid=UUID),
                    "memory": Memory(guest="128Mi"),
                    "cpu": CPU(cores=1, sockets=1, threads=1),
                    "machine": Machine(type="q35"),
                    "devices": Devices(**chosen),
                    **(domain or {}),
                }
            ),
            networks=[Network(name="default", pod=PodNetwork())],
            volumes=volumes,
            **spec,
        ),
        status=VirtualMachineInstanceStatus(**(status or {})),
    )


def running_status(**more: Any) -> dict[str, Any]:
    return {"phase": "Running", "node_name": NODE, **more}


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "uid": UID,
        "namespace": "default",
        "name": "vm1",
        "pod": "virt-launcher-vm1",
        "pod_uid": "pod-1",
        "domain": UUID,
        "stage": Stage.STARTED,
    }
    return Record(**{**values, **changes})


def launcher(of: VirtualMachineInstance, name: str = "virt-launcher-vm1", **labels: str) -> Pod:
    """A launcher Pod bound to the node."""
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=of.metadata.namespace,
            labels={"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": of.metadata.uid, **labels},
            annotations={"kubevirt.io/domain": of.metadata.name},
        ),
        spec=PodSpec(
            containers=[Container(name="compute", image="launcher")],
            node_name=NODE,
            restart_policy="Never",
            termination_grace_period_seconds=60,
        ),
    )


def gate(kind: str) -> PodReadinessGate:
    return PodReadinessGate(condition_type=kind)

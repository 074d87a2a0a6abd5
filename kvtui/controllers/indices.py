"""The shared informers with the indices by which controllers find related objects without looking at all of them."""

from __future__ import annotations

from collections.abc import Iterator

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.controllers.context import Informers
from kvtui.controllers.launcher.volumes import claim_of
from kvtui.controllers.virtualmachineinstance.backendstorage import LABEL as STATE_LABEL
from kvtui.controlloop.informer import Informer

CONTROLLER = "controller"
NODE = "node"
CLAIM = "claim"
VMI = "vmi"
STATE = "state of"


def controller_uid(obj: Resource) -> list[str]:
    owner = obj.metadata.controller
    return [owner.uid] if owner is not None else []


def _pod_node(pod: Pod) -> list[str]:
    return [pod.spec.node_name] if pod.spec.node_name else []


def _pod_claims(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            yield f"{pod.metadata.namespace}/{volume.persistent_volume_claim.get('claimName')}"


def _vmi_node(vmi: VirtualMachineInstance) -> list[str]:
    return [vmi.status.node_name] if vmi.status.node_name else []


def vmi_claims(vmi: VirtualMachineInstance) -> Iterator[str]:
    for volume in vmi.spec.volumes:
        if (claim := claim_of(volume)) is not None:
            yield f"{vmi.metadata.namespace}/{claim}"


def _migration_vmi(migration: VirtualMachineInstanceMigration) -> list[str]:
    return [f"{migration.metadata.namespace}/{migration.spec.vmi_name}"]


def _state_of(claim: PersistentVolumeClaim) -> list[str]:
    name = claim.metadata.labels.get(STATE_LABEL)
    return [f"{claim.metadata.namespace}/{name}"] if name else []


def pods(informers: Informers) -> Informer[Pod]:
    """By controller (uid), node and claim."""
    informers.index(Pod, CONTROLLER, controller_uid)
    informers.index(Pod, CLAIM, _pod_claims)
    return informers.index(Pod, NODE, _pod_node)


def vmis(informers: Informers) -> Informer[VirtualMachineInstance]:
    """By node, claim (ns/name) and controller (uid)."""
    informers.index(VirtualMachineInstance, CLAIM, vmi_claims)
    informers.index(VirtualMachineInstance, CONTROLLER, controller_uid)
    return informers.index(VirtualMachineInstance, NODE, _vmi_node)


def migrations(informers: Informers) -> Informer[VirtualMachineInstanceMigration]:
    """By VMI (ns/name)."""
    return informers.index(VirtualMachineInstanceMigration, VMI, _migration_vmi)


def claims(informers: Informers) -> Informer[PersistentVolumeClaim]:
    """By the VMI (ns/name) whose persistent state they hold."""
    return informers.index(PersistentVolumeClaim, STATE, _state_of)


def data_volumes(informers: Informers) -> Informer[DataVolume]:
    """By controller (uid)."""
    return informers.index(DataVolume, CONTROLLER, controller_uid)

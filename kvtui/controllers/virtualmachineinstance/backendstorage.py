"""The claim that holds a guest's TPM and firmware variables when they are to persist.

Source: kubevirt pkg/storage/backend-storage; control plane facts 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.api.registry import owner_reference
from kvtui.controllers.clusterconfig import Configuration

LABEL = "persistent-state-for"
SIZE = "10Mi"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
VOLUME = "vm-state"


def is_needed(spec: VirtualMachineInstanceSpec) -> bool:
    domain = spec.domain
    tpm = domain.devices.tpm
    efi = domain.firmware.bootloader.efi if domain.firmware and domain.firmware.bootloader else None
    tracked = any(d.changed_block_tracking for d in domain.devices.disks)
    return bool((tpm and tpm.enabled is not False and tpm.persistent) or (efi and efi.persistent) or tracked)


def storage_class(classes: Iterable[StorageClass], config: Configuration) -> str | None:
    """The configured class, else the default one; None when there is neither."""
    if config.configuration.vm_state_storage_class:
        return config.configuration.vm_state_storage_class
    defaults = sorted(c.metadata.name for c in classes if c.metadata.annotations.get(DEFAULT_CLASS) == "true")
    return defaults[0] if defaults else None


def claim_for(vmi: VirtualMachineInstance, claims: Sequence[PersistentVolumeClaim]) -> PersistentVolumeClaim | None:
    """The present one: `claims` are those that carry the label with this VMI's name."""
    own = [c for c in claims if not c.metadata.deletion_timestamp]
    return min(own, key=lambda c: (c.metadata.creation_timestamp or "", c.metadata.name), default=None)


def new_claim(vmi: VirtualMachineInstance, class_name: str) -> PersistentVolumeClaim:
    """Belongs to the VM where there is one, so that the state outlives the VMI."""
    owner = vmi.metadata.controller
    reference = owner if owner is not None and owner.kind == "VirtualMachine" else owner_reference(vmi)
    assert isinstance(reference, OwnerReference)
    return PersistentVolumeClaim(
        metadata=ObjectMeta(
            generate_name=f"{LABEL}-{vmi.metadata.name}-",
            namespace=vmi.metadata.namespace,
            labels={LABEL: vmi.metadata.name},
            owner_references=[reference],
        ),
        spec=PersistentVolumeClaimSpec(
            access_modes=["ReadWriteOnce"],
            volume_mode="Filesystem",
            storage_class_name=class_name,
            resources=VolumeResourceRequirements(requests={"storage": SIZE}),
        ),
    )


def is_usable(claim: PersistentVolumeClaim, classes: Iterable[StorageClass]) -> bool:
    """Bound, or only waiting for the launcher as its first consumer."""
    if claim.status.phase == "Bound":
        return True
    chosen = next((c for c in classes if c.metadata.name == claim.spec.storage_class_name), None)
    return chosen is not None and chosen.volume_binding_mode == "WaitForFirstConsumer"

"""The claim that holds a guest's TPM and firmware variables when they are to persist.

A migration carries them to a claim of their own on the target's side, so that no two nodes ever write to one claim and
a migration that fails has touched nothing. The new claim takes the old one's place once the guest runs there.

Source: kubevirt pkg/storage/backend-storage; control plane facts 3.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.pod import Pod, PodVolume
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.meta import ObjectMeta, OwnerReference
from kvtui.api.registry import owner_reference
from kvtui.api.wire import evolve
from kvtui.controllers.clusterconfig import Configuration

LABEL = "persistent-state-for"
SIZE = "10Mi"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
VOLUME = "vm-state"
MIGRATION = "kubevirt.io/migrationName"
"""Label of a claim that was made for the target of a migration."""


def is_needed(spec: VirtualMachineInstanceSpec) -> bool:
    return keeps_state(spec) or any(d.changed_block_tracking for d in spec.domain.devices.disks)


def keeps_state(spec: VirtualMachineInstanceSpec) -> bool:
    """Whether the guest has a TPM or firmware variables that persist."""
    tpm = spec.domain.devices.tpm
    efi = spec.domain.firmware.bootloader.efi if spec.domain.firmware and spec.domain.firmware.bootloader else None
    return bool((tpm and tpm.enabled is not False and tpm.persistent) or (efi and efi.persistent))


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


def target_claim(
    vmi: VirtualMachineInstance, migration: VirtualMachineInstanceMigration, source: PersistentVolumeClaim
) -> PersistentVolumeClaim:
    """The claim for a migration's target, of the source's kind. It is not the VMI's before the guest is there."""
    made = new_claim(vmi, source.spec.storage_class_name or "")
    metadata = evolve(
        made.metadata,
        name=target_name(vmi.metadata.name, migration),
        generate_name=None,
        labels={MIGRATION: migration.metadata.name},
    )
    return evolve(made, metadata=metadata, spec=evolve(made.spec, resources=source.spec.resources))


def target_name(vmi: str, migration: VirtualMachineInstanceMigration) -> str:
    """The same whenever it is asked, so that an interrupted step is simply done again."""
    return f"{LABEL}-{vmi[:180]}-{migration.metadata.uid[:8]}"


def mounted(pod: Pod, claim: PersistentVolumeClaim) -> Pod:
    """The launcher with the claim, so that it is placed where the claim can be reached."""
    volume = PodVolume(name=VOLUME, persistent_volume_claim={"claimName": claim.metadata.name})
    return evolve(pod, spec=evolve(pod.spec, volumes=[*pod.spec.volumes, volume]))


def is_usable(claim: PersistentVolumeClaim, classes: Iterable[StorageClass]) -> bool:
    """Bound, or only waiting for the launcher as its first consumer."""
    if claim.status.phase == "Bound":
        return True
    chosen = next((c for c in classes if c.metadata.name == claim.spec.storage_class_name), None)
    return chosen is not None and chosen.volume_binding_mode == "WaitForFirstConsumer"

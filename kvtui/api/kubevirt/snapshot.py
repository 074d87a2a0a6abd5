"""Snapshots of VMs and their restoration.

Source: kubevirt.io/api/snapshot/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import PersistentVolumeClaimSpec, TypedLocalObjectReference
from kvtui.api.kubevirt.vm import VirtualMachineSpec, VirtualMachineStatus
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.wire import ATOMIC, NULLABLE, REQUIRED, SET, Time, Wire, named, schema


class VirtualMachineSnapshotSpec(Wire, frozen=True):
    """Virtual machine snapshot spec."""

    deletion_policy: str | None = None
    failure_deadline: str | None = None
    source: Annotated[TypedLocalObjectReference, REQUIRED] = TypedLocalObjectReference()


class Condition(Wire, frozen=True):
    """Condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class Error(Wire, frozen=True):
    """Error."""

    message: str | None = None
    time: Time | None = None


class SnapshotVolumesLists(Wire, frozen=True):
    """Snapshot volumes lists."""

    excluded_volumes: Annotated[list[str], SET] = []
    included_volumes: Annotated[list[str], SET] = []


class SourceIndication(Wire, frozen=True):
    """Source indication."""

    indication: Annotated[str, REQUIRED] = ""
    message: Annotated[str, REQUIRED] = ""


class VirtualMachineSnapshotStatus(Wire, frozen=True):
    """Virtual machine snapshot status."""

    conditions: Annotated[list[Condition], ATOMIC] = []
    creation_time: Annotated[Time | None, NULLABLE] = None
    error: Error | None = None
    indications: Annotated[list[str], SET] = []
    phase: str | None = None
    ready_to_use: bool | None = None
    snapshot_volumes: SnapshotVolumesLists | None = None
    source_indications: Annotated[list[SourceIndication], ATOMIC] = []
    source_uid: str | None = named("sourceUID", None)
    virtual_machine_snapshot_content_name: str | None = None


class VirtualMachineSnapshot(Resource, frozen=True):
    """Virtual machine snapshot."""

    spec: Annotated[VirtualMachineSnapshotSpec, REQUIRED] = VirtualMachineSnapshotSpec()
    status: VirtualMachineSnapshotStatus = VirtualMachineSnapshotStatus()


class CapturedVirtualMachine(Wire, frozen=True):
    """Captured virtual machine."""

    metadata: ObjectMeta | None = None
    spec: VirtualMachineSpec | None = None
    status: VirtualMachineStatus | None = None


class SourceSpec(Wire, frozen=True):
    """Source spec."""

    virtual_machine: CapturedVirtualMachine | None = None


class CapturedPersistentVolumeClaim(Wire, frozen=True):
    """Captured persistent volume claim."""

    metadata: ObjectMeta | None = None
    spec: PersistentVolumeClaimSpec | None = None


class VolumeBackup(Wire, frozen=True):
    """Volume backup."""

    persistent_volume_claim: Annotated[CapturedPersistentVolumeClaim, REQUIRED] = CapturedPersistentVolumeClaim()
    volume_name: Annotated[str, REQUIRED] = ""
    volume_snapshot_name: str | None = None


class VirtualMachineSnapshotContentSpec(Wire, frozen=True):
    """Virtual machine snapshot content spec."""

    source: Annotated[SourceSpec, REQUIRED] = SourceSpec()
    virtual_machine_snapshot_name: str | None = None
    volume_backups: Annotated[list[VolumeBackup], ATOMIC] = []


class VolumeSnapshotStatus(Wire, frozen=True):
    """Volume snapshot status."""

    creation_time: Annotated[Time | None, NULLABLE] = None
    error: Error | None = None
    ready_to_use: bool | None = None
    volume_snapshot_name: Annotated[str, REQUIRED] = ""


class VirtualMachineSnapshotContentStatus(Wire, frozen=True):
    """Virtual machine snapshot content status."""

    creation_time: Annotated[Time | None, NULLABLE] = None
    error: Error | None = None
    ready_to_use: bool | None = None
    volume_snapshot_status: Annotated[list[VolumeSnapshotStatus], ATOMIC] = []


class VirtualMachineSnapshotContent(Resource, frozen=True):
    """Virtual machine snapshot content."""

    spec: Annotated[VirtualMachineSnapshotContentSpec, REQUIRED] = VirtualMachineSnapshotContentSpec()
    status: VirtualMachineSnapshotContentStatus = VirtualMachineSnapshotContentStatus()


class VolumeRestoreOverride(Wire, frozen=True):
    """Volume restore override."""

    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}
    restore_name: str | None = None
    volume_name: str | None = None


class VirtualMachineRestoreSpec(Wire, frozen=True):
    """Virtual machine restore spec."""

    patches: Annotated[list[str], ATOMIC] = []
    target: Annotated[TypedLocalObjectReference, REQUIRED] = TypedLocalObjectReference()
    target_readiness_policy: Annotated[
        str | None,
        schema(
            default="WaitGracePeriod",
            enum=["WaitGracePeriod", "StopTarget", "FailImmediate", "WaitEventually"],
        ),
    ] = None
    virtual_machine_snapshot_name: Annotated[str, REQUIRED] = ""
    volume_ownership_policy: str | None = None
    volume_restore_overrides: Annotated[list[VolumeRestoreOverride], ATOMIC] = []
    volume_restore_policy: str | None = None


class VolumeRestore(Wire, frozen=True):
    """Volume restore."""

    data_volume_name: str | None = None
    persistent_volume_claim: Annotated[str, REQUIRED] = ""
    volume_name: Annotated[str, REQUIRED] = ""
    volume_snapshot_name: Annotated[str, REQUIRED] = ""


class VirtualMachineRestoreStatus(Wire, frozen=True):
    """Virtual machine restore status."""

    complete: bool | None = None
    conditions: Annotated[list[Condition], ATOMIC] = []
    deleted_data_volumes: Annotated[list[str], SET] = []
    restore_time: Time | None = None
    restores: Annotated[list[VolumeRestore], ATOMIC] = []


class VirtualMachineRestore(Resource, frozen=True):
    """Virtual machine restore."""

    spec: Annotated[VirtualMachineRestoreSpec, REQUIRED] = VirtualMachineRestoreSpec()
    status: VirtualMachineRestoreStatus = VirtualMachineRestoreStatus()

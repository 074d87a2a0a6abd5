"""VirtualMachine: the declaration that outlives its instances.

Source: kubevirt.io/api/core/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.cdi.datavolume import DataVolumeSpec
from kvtui.api.kubevirt.domain import Disk
from kvtui.api.kubevirt.vmi import (
    ChangedBlockTrackingStatus,
    DataVolumeSource,
    PersistentVolumeClaimVolumeSource,
    StorageMigratedVolumeInfo,
    VirtualMachineInstanceTemplateSpec,
)
from kvtui.api.meta import ObjectMeta, Resource
from kvtui.api.wire import ATOMIC, INT32, INT64, NULLABLE, REQUIRED, Time, Wire, always, named, schema


class DataVolumeTemplateDummyStatus(Wire, frozen=True):
    """Data volume template dummy status."""


class DataVolumeTemplateSpec(Wire, frozen=True):
    """A DataVolume that the machine creates, owns and waits for."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta | None = None
    spec: Annotated[DataVolumeSpec, REQUIRED] = DataVolumeSpec()
    status: DataVolumeTemplateDummyStatus | None = None


class InstancetypeMatcher(Wire, frozen=True):
    """Which instancetype gives the machine its size."""

    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class PreferenceMatcher(Wire, frozen=True):
    """Which preference fills in what the machine leaves open."""

    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None
    revision_name: str | None = None


class VirtualMachineSpec(Wire, frozen=True):
    """What the machine is, and whether it runs."""

    data_volume_templates: list[DataVolumeTemplateSpec] = []
    instancetype: InstancetypeMatcher | None = None
    preference: PreferenceMatcher | None = None
    run_strategy: str | None = None
    running: bool | None = None
    template: Annotated[VirtualMachineInstanceTemplateSpec, REQUIRED] = VirtualMachineInstanceTemplateSpec()
    update_volumes_strategy: str | None = None


class VirtualMachineCondition(Wire, frozen=True):
    """One condition of a machine: Ready, Paused, LiveMigratable, Failure, RestartRequired, ..."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class ControllerRevisionRef(Wire, frozen=True):
    """Controller revision ref."""

    name: str | None = None


class InstancetypeStatusRef(Wire, frozen=True):
    """Instancetype status ref."""

    controller_revision_ref: ControllerRevisionRef | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    kind: str | None = None
    name: str | None = None


class VirtualMachineMemoryDumpRequest(Wire, frozen=True):
    """A memory dump into a claim."""

    claim_name: Annotated[str, REQUIRED] = ""
    end_timestamp: Time | None = None
    file_name: str | None = None
    message: str | None = None
    phase: Annotated[str, REQUIRED] = ""
    remove: bool | None = None
    start_timestamp: Time | None = None


class VirtualMachineStartFailure(Wire, frozen=True):
    """Failures to start, for the back-off."""

    consecutive_fail_count: Annotated[int | None, INT32] = None
    last_failed_vmiuid: str | None = named("lastFailedVMIUID", None)
    retry_after_timestamp: Time | None = None


class VirtualMachineStateChangeRequest(Wire, frozen=True):
    """A start or stop that was asked for."""

    action: Annotated[str, REQUIRED] = ""
    data: dict[str, str] = {}
    uid: str | None = None


class HotplugVolumeSource(Wire, frozen=True):
    """Hotplug volume source."""

    data_volume: DataVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class AddVolumeOptions(Wire, frozen=True):
    """Add volume options."""

    disk: Annotated[Disk | None, REQUIRED] = None
    dry_run: Annotated[list[str], ATOMIC] = []
    name: Annotated[str, REQUIRED] = ""
    volume_source: Annotated[HotplugVolumeSource | None, REQUIRED] = None


class RemoveVolumeOptions(Wire, frozen=True):
    """Remove volume options."""

    dry_run: Annotated[list[str], ATOMIC] = []
    name: Annotated[str, REQUIRED] = ""


class VirtualMachineVolumeRequest(Wire, frozen=True):
    """Virtual machine volume request."""

    add_volume_options: AddVolumeOptions | None = None
    remove_volume_options: RemoveVolumeOptions | None = None


class VolumeSnapshotStatus(Wire, frozen=True):
    """Volume snapshot status."""

    enabled: Annotated[bool, REQUIRED] = always(bool)
    name: Annotated[str, REQUIRED] = ""
    reason: str | None = None


class VolumeMigrationState(Wire, frozen=True):
    """Volume migration state."""

    migrated_volumes: Annotated[list[StorageMigratedVolumeInfo], ATOMIC] = []


class VolumeUpdateState(Wire, frozen=True):
    """Volume update state."""

    volume_migration_state: VolumeMigrationState | None = None


class VirtualMachineStatus(Wire, frozen=True):
    """What the machine does at the moment."""

    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineCondition] = []
    created: bool | None = None
    desired_generation: Annotated[int | None, INT64] = None
    instancetype_ref: InstancetypeStatusRef | None = None
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    observed_generation: Annotated[int | None, INT64] = None
    preference_ref: InstancetypeStatusRef | None = None
    printable_status: Annotated[str | None, schema(default="Stopped")] = None
    ready: bool | None = None
    restore_in_progress: str | None = None
    run_strategy: str | None = None
    snapshot_in_progress: str | None = None
    start_failure: VirtualMachineStartFailure | None = None
    state_change_requests: list[VirtualMachineStateChangeRequest] = []
    volume_requests: Annotated[list[VirtualMachineVolumeRequest], ATOMIC] = []
    volume_snapshot_statuses: list[VolumeSnapshotStatus] = []
    volume_update_state: VolumeUpdateState | None = None


class VirtualMachine(Resource, frozen=True):
    """A machine that outlives its instances: started and stopped, it keeps its name and disks."""

    spec: Annotated[VirtualMachineSpec, REQUIRED] = VirtualMachineSpec()
    status: VirtualMachineStatus = VirtualMachineStatus()

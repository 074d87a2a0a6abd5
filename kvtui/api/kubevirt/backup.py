"""Backups of running VMs.

Source: kubevirt.io/api/backup/v1alpha1.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.meta import Condition, Resource
from kvtui.api.wire import ATOMIC, REQUIRED, Time, Wire, list_map, named, schema

_IMMUTABLE = schema(
    x_kubernetes_validations=[{"rule": "self == oldSelf", "message": "spec is immutable after creation"}]
)
_OUR_GROUPS = schema(
    x_kubernetes_validations=[
        {
            "rule": "has(self.apiGroup) && self.apiGroup in ['kubevirt.io', 'backup.kubevirt.io']",
            "message": "apiGroup must be kubevirt.io or backup.kubevirt.io",
        }
    ]
)


class VirtualMachineBackupSpec(Wire, frozen=True):
    """What to back up, and where the backup goes."""

    schema_marks: ClassVar[dict[str, Any]] = {
        "x-kubernetes-validations": [
            {"rule": "has(self.pvcName) && self.pvcName != ''", "message": "pvcName is required"},
            {
                "rule": "!has(self.mode) || self.mode != 'Pull' || "
                "(has(self.tokenSecretRef) && self.tokenSecretRef != '')",
                "message": "tokenSecretRef is required when mode is Pull",
            },
        ]
    }

    force_full_backup: bool | None = None
    mode: str | None = None
    pvc_name: str | None = None
    skip_quiesce: bool | None = None
    source: Annotated[TypedLocalObjectReference, REQUIRED, _OUR_GROUPS] = TypedLocalObjectReference()
    token_secret_ref: str | None = None
    ttl_duration: str | None = None


class BackupVolumeInfo(Wire, frozen=True):
    """Backup volume info."""

    data_endpoint: str | None = None
    map_endpoint: str | None = None
    volume_name: Annotated[str, REQUIRED] = ""


class VirtualMachineBackupStatus(Wire, frozen=True):
    """Virtual machine backup status."""

    checkpoint_name: str | None = None
    conditions: Annotated[list[Condition], list_map("type")] = []
    endpoint_cert: str | None = None
    export_uid: str | None = named("exportUID", None)
    included_volumes: Annotated[list[BackupVolumeInfo], ATOMIC] = []
    type: str | None = None


class VirtualMachineBackup(Resource, frozen=True):
    """One backup of a running VM: pushed into a claim, or offered for pulling."""

    spec: Annotated[VirtualMachineBackupSpec, REQUIRED, _IMMUTABLE] = VirtualMachineBackupSpec()
    status: VirtualMachineBackupStatus = VirtualMachineBackupStatus()


class VirtualMachineBackupTrackerSpec(Wire, frozen=True):
    """Whose changes are tracked from one backup to the next."""

    source: Annotated[TypedLocalObjectReference, REQUIRED, _OUR_GROUPS] = TypedLocalObjectReference()


class BackupCheckpoint(Wire, frozen=True):
    """The point in time from which the next incremental backup starts."""

    creation_time: Time | None = None
    name: str | None = None
    volumes: Annotated[list[BackupVolumeInfo], ATOMIC] = []


class VirtualMachineBackupTrackerStatus(Wire, frozen=True):
    """The latest checkpoint."""

    checkpoint_redefinition_required: bool | None = None
    latest_checkpoint: BackupCheckpoint | None = None


class VirtualMachineBackupTracker(Resource, frozen=True):
    """Makes the backups that name it as their source incremental."""

    spec: Annotated[VirtualMachineBackupTrackerSpec, REQUIRED, _IMMUTABLE] = VirtualMachineBackupTrackerSpec()
    status: VirtualMachineBackupTrackerStatus | None = None

"""Backups of running VMs.

Source: kubevirt.io/api/backup/v1alpha1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.meta import Condition, Resource
from kvtui.api.wire import ATOMIC, REQUIRED, Wire, list_map, named


class VirtualMachineBackupSpec(Wire, frozen=True):
    """Virtual machine backup spec."""

    force_full_backup: bool | None = None
    mode: str | None = None
    pvc_name: str | None = None
    skip_quiesce: bool | None = None
    source: Annotated[TypedLocalObjectReference, REQUIRED] = TypedLocalObjectReference()
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
    """Virtual machine backup."""

    spec: Annotated[VirtualMachineBackupSpec, REQUIRED] = VirtualMachineBackupSpec()
    status: VirtualMachineBackupStatus = VirtualMachineBackupStatus()

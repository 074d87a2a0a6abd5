"""Bodies and answers of the subresources.kubevirt.io API.

Source: kubevirt.io/api/core/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import TypedObjectReference
from kvtui.api.kubevirt.backup import BackupVolumeInfo
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceGuestOSInfo
from kvtui.api.meta import LabelSelector
from kvtui.api.wire import ATOMIC, INT32, INT64, NULLABLE, REQUIRED, Time, Wire, named


class EvacuateCancelOptions(Wire, frozen=True):
    """Evacuate cancel options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    evacuation_node_name: Annotated[str, REQUIRED] = ""
    kind: str | None = None


class FreezeUnfreezeTimeout(Wire, frozen=True):
    """Freeze unfreeze timeout."""

    unfreeze_timeout: Annotated[str | None, REQUIRED] = None


class GuestAgentCommandInfo(Wire, frozen=True):
    """Guest agent command info."""

    enabled: bool | None = None
    name: Annotated[str, REQUIRED] = ""


class MigrateOptions(Wire, frozen=True):
    """Migrate options."""

    added_node_selector: dict[str, str] = {}
    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    kind: str | None = None


class ObjectGraphNode(Wire, frozen=True):
    """Object graph node."""

    api_version: str | None = None
    children: Annotated[list[ObjectGraphNode], ATOMIC] = []
    kind: str | None = None
    labels: dict[str, str] = {}
    object_reference: Annotated[TypedObjectReference, REQUIRED] = TypedObjectReference()
    optional: bool | None = None


class ObjectGraphOptions(Wire, frozen=True):
    """Object graph options."""

    include_optional_nodes: bool | None = None
    label_selector: LabelSelector | None = None


class PauseOptions(Wire, frozen=True):
    """Pause options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    kind: str | None = None


class RestartOptions(Wire, frozen=True):
    """Restart options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    grace_period_seconds: Annotated[int | None, INT64] = None
    kind: str | None = None


class SEVMeasurementInfo(Wire, frozen=True):
    """SEV measurement info."""

    api_major: Annotated[int | None, INT32] = None
    api_minor: Annotated[int | None, INT32] = None
    api_version: str | None = None
    build_id: Annotated[int | None, INT32] = named("buildID", None)
    kind: str | None = None
    loader_sha: str | None = named("loaderSHA", None)
    measurement: str | None = None
    policy: Annotated[int | None, INT32] = None


class SEVPlatformInfo(Wire, frozen=True):
    """SEV platform info."""

    api_version: str | None = None
    cert_chain: str | None = None
    kind: str | None = None
    pdh: str | None = None


class SEVSecretOptions(Wire, frozen=True):
    """SEV secret options."""

    header: str | None = None
    secret: str | None = None


class SEVSessionOptions(Wire, frozen=True):
    """SEV session options."""

    dh_cert: str | None = None
    session: str | None = None


class StartOptions(Wire, frozen=True):
    """Start options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    kind: str | None = None
    paused: bool | None = None


class StopOptions(Wire, frozen=True):
    """Stop options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    grace_period: Annotated[int | None, INT64] = None
    kind: str | None = None


class UnpauseOptions(Wire, frozen=True):
    """Unpause options."""

    api_version: str | None = None
    dry_run: Annotated[list[str], ATOMIC] = []
    kind: str | None = None


class VirtualMachineInstanceFileSystemDisk(Wire, frozen=True):
    """Virtual machine instance file system disk."""

    bus_type: Annotated[str, REQUIRED] = ""
    serial: str | None = None


class VirtualMachineInstanceFileSystem(Wire, frozen=True):
    """Virtual machine instance file system."""

    disk: list[VirtualMachineInstanceFileSystemDisk] = []
    disk_name: Annotated[str, REQUIRED] = ""
    file_system_type: Annotated[str, REQUIRED] = ""
    mount_point: Annotated[str, REQUIRED] = ""
    total_bytes: Annotated[int, REQUIRED, INT32] = 0
    used_bytes: Annotated[int, REQUIRED, INT32] = 0


class VirtualMachineInstanceFileSystemInfo(Wire, frozen=True):
    """Virtual machine instance file system info."""

    disks: Annotated[list[VirtualMachineInstanceFileSystem], REQUIRED] = []


class VirtualMachineInstanceGuestOSUser(Wire, frozen=True):
    """Virtual machine instance guest OS user."""

    domain: str | None = None
    login_time: float | None = None
    user_name: Annotated[str, REQUIRED] = ""


class VirtualMachineInstanceGuestAgentInfo(Wire, frozen=True):
    """Virtual machine instance guest agent info."""

    api_version: str | None = None
    fs_freeze_status: str | None = None
    fs_info: VirtualMachineInstanceFileSystemInfo | None = None
    guest_agent_version: str | None = None
    hostname: str | None = None
    kind: str | None = None
    os: VirtualMachineInstanceGuestOSInfo | None = None
    supported_commands: Annotated[list[GuestAgentCommandInfo], ATOMIC] = []
    timezone: str | None = None
    user_list: list[VirtualMachineInstanceGuestOSUser] = []


class BackupCheckpoint(Wire, frozen=True):
    """Backup checkpoint."""

    creation_time: Annotated[Time | None, NULLABLE] = None
    name: str | None = None
    volumes: Annotated[list[BackupVolumeInfo], ATOMIC] = []


class BackupOptions(Wire, frozen=True):
    """Backup options."""

    backup_cert: str | None = None
    backup_key: str | None = None
    backup_name: str | None = None
    backup_start_time: Time | None = None
    ca_cert: str | None = None
    cmd: str | None = None
    export_server_addr: str | None = None
    export_server_name: str | None = None
    incremental: str | None = None
    mode: str | None = None
    skip_quiesce: bool | None = None
    target_path: str | None = None

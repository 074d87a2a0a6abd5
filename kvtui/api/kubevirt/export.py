"""VirtualMachineExport.

Source: kubevirt.io/api/export/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.meta import Resource
from kvtui.api.wire import ATOMIC, NULLABLE, REQUIRED, Time, Wire, list_map


class VirtualMachineExportSpec(Wire, frozen=True):
    """Virtual machine export spec."""

    source: Annotated[TypedLocalObjectReference, REQUIRED] = TypedLocalObjectReference()
    token_secret_ref: str | None = None
    ttl_duration: str | None = None


class Condition(Wire, frozen=True):
    """Condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class VirtualMachineExportBackupEndpoint(Wire, frozen=True):
    """Virtual machine export backup endpoint."""

    endpoint: Annotated[str, REQUIRED] = ""
    url: Annotated[str, REQUIRED] = ""


class VirtualMachineExportBackup(Wire, frozen=True):
    """Virtual machine export backup."""

    endpoints: Annotated[list[VirtualMachineExportBackupEndpoint], list_map("endpoint")] = []
    name: Annotated[str, REQUIRED] = ""


class VirtualMachineExportManifest(Wire, frozen=True):
    """Virtual machine export manifest."""

    type: Annotated[str, REQUIRED] = ""
    url: Annotated[str, REQUIRED] = ""


class VirtualMachineExportVolumeFormat(Wire, frozen=True):
    """Virtual machine export volume format."""

    format: Annotated[str, REQUIRED] = ""
    url: Annotated[str, REQUIRED] = ""


class VirtualMachineExportVolume(Wire, frozen=True):
    """Virtual machine export volume."""

    formats: Annotated[list[VirtualMachineExportVolumeFormat], list_map("format")] = []
    name: Annotated[str, REQUIRED] = ""


class VirtualMachineExportLink(Wire, frozen=True):
    """Virtual machine export link."""

    backups: Annotated[list[VirtualMachineExportBackup], list_map("name")] = []
    cert: Annotated[str, REQUIRED] = ""
    manifests: Annotated[list[VirtualMachineExportManifest], list_map("type")] = []
    volumes: Annotated[list[VirtualMachineExportVolume], list_map("name")] = []


class VirtualMachineExportLinks(Wire, frozen=True):
    """Virtual machine export links."""

    external: VirtualMachineExportLink | None = None
    internal: VirtualMachineExportLink | None = None


class VirtualMachineExportStatus(Wire, frozen=True):
    """Virtual machine export status."""

    conditions: Annotated[list[Condition], ATOMIC] = []
    links: VirtualMachineExportLinks | None = None
    phase: str | None = None
    service_name: str | None = None
    token_secret_ref: str | None = None
    ttl_expiration_time: Time | None = None
    virtual_machine_name: str | None = None


class VirtualMachineExport(Resource, frozen=True):
    """Virtual machine export."""

    spec: Annotated[VirtualMachineExportSpec, REQUIRED] = VirtualMachineExportSpec()
    status: VirtualMachineExportStatus = VirtualMachineExportStatus()

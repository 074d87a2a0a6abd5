"""VirtualMachineClone.

Source: kubevirt.io/api/clone/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.core.parts import TypedLocalObjectReference
from kvtui.api.kubevirt.snapshot import Condition
from kvtui.api.meta import Resource
from kvtui.api.wire import ATOMIC, NULLABLE, REQUIRED, Time, Wire, named, schema


class VirtualMachineCloneTemplateFilters(Wire, frozen=True):
    """Virtual machine clone template filters."""

    annotation_filters: Annotated[list[str], ATOMIC] = []
    label_filters: Annotated[list[str], ATOMIC] = []


class VirtualMachineCloneSpec(Wire, frozen=True):
    """Virtual machine clone spec."""

    annotation_filters: Annotated[list[str], ATOMIC] = []
    label_filters: Annotated[list[str], ATOMIC] = []
    new_mac_addresses: dict[str, str] = {}
    new_sm_bios_serial: str | None = named("newSMBiosSerial", None)
    patches: Annotated[list[str], ATOMIC] = []
    source: Annotated[TypedLocalObjectReference | None, REQUIRED] = None
    target: TypedLocalObjectReference | None = None
    template: VirtualMachineCloneTemplateFilters | None = None
    volume_name_policy: Annotated[str | None, schema(enum=["RandomizeNames", "PrefixTargetName"])] = None


class VirtualMachineCloneStatus(Wire, frozen=True):
    """Virtual machine clone status."""

    conditions: Annotated[list[Condition], ATOMIC] = []
    creation_time: Annotated[Time | None, NULLABLE] = None
    phase: str | None = None
    restore_name: str | None = None
    snapshot_name: str | None = None
    target_name: str | None = None


class VirtualMachineClone(Resource, frozen=True):
    """Virtual machine clone."""

    spec: Annotated[VirtualMachineCloneSpec, REQUIRED] = VirtualMachineCloneSpec()
    status: VirtualMachineCloneStatus = VirtualMachineCloneStatus()

"""VirtualMachineInstanceReplicaSet: N like instances.

Source: kubevirt.io/api/core/v1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.kubevirt.vmi import VirtualMachineInstanceTemplateSpec
from kvtui.api.meta import LabelSelector, Resource
from kvtui.api.wire import INT32, NULLABLE, REQUIRED, Time, Wire


class VirtualMachineInstanceReplicaSetSpec(Wire, frozen=True):
    """Virtual machine instance replica set spec."""

    paused: bool | None = None
    replicas: Annotated[int | None, INT32] = None
    selector: Annotated[LabelSelector | None, REQUIRED] = None
    template: Annotated[VirtualMachineInstanceTemplateSpec, REQUIRED] = VirtualMachineInstanceTemplateSpec()


class VirtualMachineInstanceReplicaSetCondition(Wire, frozen=True):
    """Virtual machine instance replica set condition."""

    last_probe_time: Annotated[Time | None, NULLABLE] = None
    last_transition_time: Annotated[Time | None, NULLABLE] = None
    message: str | None = None
    reason: str | None = None
    status: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class VirtualMachineInstanceReplicaSetStatus(Wire, frozen=True):
    """Virtual machine instance replica set status."""

    conditions: list[VirtualMachineInstanceReplicaSetCondition] = []
    label_selector: str | None = None
    ready_replicas: Annotated[int | None, INT32] = None
    replicas: Annotated[int | None, INT32] = None


class VirtualMachineInstanceReplicaSet(Resource, frozen=True):
    """Virtual machine instance replica set."""

    spec: Annotated[VirtualMachineInstanceReplicaSetSpec, REQUIRED] = VirtualMachineInstanceReplicaSetSpec()
    status: VirtualMachineInstanceReplicaSetStatus = VirtualMachineInstanceReplicaSetStatus()

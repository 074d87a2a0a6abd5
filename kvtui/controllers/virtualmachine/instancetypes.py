"""Instancetype and preference of a VM: found, frozen into revisions, applied to its template."""

from __future__ import annotations

from dataclasses import dataclass, field

from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.virtualmachine.status import SyncError
from kvtui.controllers.virtualmachine.view import View


@dataclass(frozen=True, slots=True)
class Expanded:
    """A VM's template as the guest gets it."""

    vm: VirtualMachine
    """With references to revisions in its status."""
    spec: VirtualMachineInstanceSpec
    annotations: dict[str, str] = field(default_factory=dict)


class Instancetypes:
    def __init__(self, context: ControllerContext) -> None:
        self._context = context

    async def resolve(self, view: View, vm: VirtualMachine) -> Expanded | SyncError:
        return Expanded(vm, view.template)

    async def started_template(
        self, view: View, started: VirtualMachineSpec | None
    ) -> VirtualMachineInstanceSpec | None:
        if started is None or started.template is None:
            return None
        return started.template.spec

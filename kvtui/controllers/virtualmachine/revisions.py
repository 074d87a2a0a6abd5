"""What a VM looked like when its instance was started, kept to compare with later.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (createVMRevision); control plane facts 2.8.
"""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.api.core.config import ControllerRevision
from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.wire import from_wire, to_wire
from kvtui.errors import InvalidObject

PREFIX = "revision-start-vm-"


def name_of(vm: VirtualMachine) -> str:
    return f"{PREFIX}{vm.metadata.uid}-{vm.metadata.generation}"


def revision_of(vm: VirtualMachine) -> ControllerRevision:
    return ControllerRevision(
        metadata=ObjectMeta(name=name_of(vm), namespace=vm.metadata.namespace, owner_references=[owner_reference(vm)]),
        data={"spec": to_wire(vm.spec)},
        revision=vm.metadata.generation,
    )


def outdated(vm: VirtualMachine, revisions: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """Start revisions that the one of this generation replaces."""
    return [r for r in revisions if r.metadata.name.startswith(PREFIX) and r.metadata.name != name_of(vm)]


def started_spec(vmi: VirtualMachineInstance, revisions: Sequence[ControllerRevision]) -> VirtualMachineSpec | None:
    """The VM's spec from which this instance was started; None when that is not known."""
    name = vmi.status.virtual_machine_revision_name
    revision = next((r for r in revisions if r.metadata.name == name), None)
    if revision is None or not isinstance(revision.data, dict):
        return None
    try:
        return from_wire(revision.data.get("spec") or {}, VirtualMachineSpec)
    except InvalidObject:
        return None

"""Small marks on VMs and their instances: finalizer, API versions, defaults that old VMs lack, followed annotations.

Source: control plane facts 2.3 (1, 4, 8), 2.10.
"""

from __future__ import annotations

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import (
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceTemplateSpec,
    Volume,
)
from kvtui.api.wire import evolve
from kvtui.controllers import names
from kvtui.controllers.virtualmachine import volumerequests
from kvtui.controllers.virtualmachine.instance import with_firmware_uuid
from kvtui.controllers.virtualmachine.view import View

FOLLOWED = (names.DESCHEDULER_EVICT, names.DESCHEDULER_PREFER_NO_EVICTION, names.SKIP_BACKUP_HOOKS)


def marked(vm: VirtualMachine) -> VirtualMachine:
    """With what admission would have given it, and the finalizer unless it goes; the same when nothing is missing."""
    metadata = vm.metadata
    if any(metadata.annotations.get(k) != v for k, v in names.API_VERSIONS.items()):
        metadata = evolve(metadata, annotations={**metadata.annotations, **names.API_VERSIONS})
    if not metadata.deletion_timestamp and names.VM_FINALIZER not in metadata.finalizers:
        metadata = evolve(metadata, finalizers=[*metadata.finalizers, names.VM_FINALIZER])
    if metadata is not vm.metadata:
        vm = evolve(vm, metadata=metadata)
    if metadata.deletion_timestamp or vm.spec.template is None or vm.spec.template.spec is None:
        return vm
    return _with_template(vm, with_firmware_uuid(vm.spec.template.spec, vm.metadata.name))


def with_strategy(vm: VirtualMachine, strategy: str) -> VirtualMachine:
    """In whichever of the two fields the VM uses."""
    if vm.spec.running is not None:
        return evolve(vm, spec=evolve(vm.spec, running=strategy != "Halted"))
    return evolve(vm, spec=evolve(vm.spec, run_strategy=strategy))


def _with_template(vm: VirtualMachine, spec: VirtualMachineInstanceSpec) -> VirtualMachine:
    template = vm.spec.template or VirtualMachineInstanceTemplateSpec()
    if template.spec == spec:
        return vm
    return evolve(vm, spec=evolve(vm.spec, template=evolve(template, spec=spec)))


def with_volumes(vm: VirtualMachine, volumes: list[Volume]) -> VirtualMachine:
    spec = (vm.spec.template.spec if vm.spec.template else None) or VirtualMachineInstanceSpec()
    return _with_template(vm, evolve(spec, volumes=volumes))


def kept_up(vm: VirtualMachine, view: View) -> VirtualMachine:
    """With the volumes that were asked for in its status."""
    requests = vm.status.volume_requests
    if not requests or not view.config.gate("HotplugVolumes"):
        return vm
    spec = (vm.spec.template.spec if vm.spec.template else None) or VirtualMachineInstanceSpec()
    vm = evolve(vm, status=evolve(vm.status, volume_requests=[]))
    return _with_template(vm, volumerequests.applied(spec, requests))


def with_dynamic_annotations(vmi: VirtualMachineInstance, view: View) -> VirtualMachineInstance:
    """Some annotations of the template reach the instance while it runs."""
    wanted = view.template_metadata.annotations
    kept = {k: v for k, v in vmi.metadata.annotations.items() if k not in FOLLOWED}
    kept |= {k: wanted[k] for k in FOLLOWED if k in wanted}
    if kept == vmi.metadata.annotations:
        return vmi
    return evolve(vmi, metadata=evolve(vmi.metadata, annotations=kept))

"""The instance that a VM starts: its template under the VM's name, owned by the VM.

Source: kubevirt pkg/virt-controller/watch/vm/vm.go (setupVMIFromVM); control plane facts 2.4.
"""

from __future__ import annotations

import uuid

from kvtui.api.kubevirt.domain import Firmware, Input, Memory, ResourceRequirements
from kvtui.api.kubevirt.instancetype import DevicePreferences
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec, VirtualMachineInstanceStatus
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.wire import evolve
from kvtui.controllers import names
from kvtui.controllers.virtualmachine import memorydump
from kvtui.controllers.virtualmachine.view import View

FIRMWARE_NAMESPACE = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
"""Under which the names of old VMs become firmware UUIDs."""
DEFAULT_INPUT = "default-0"
DEFAULT_MEMORY = "512Mi"
"""Of a VM that says nothing about memory; admission refuses instances without any."""


def firmware_uuid(vm_name: str) -> str:
    """The same for every start of a VM that has none of its own."""
    return str(uuid.uuid5(FIRMWARE_NAMESPACE, vm_name))


def with_firmware_uuid(spec: VirtualMachineInstanceSpec, vm_name: str) -> VirtualMachineInstanceSpec:
    firmware = spec.domain.firmware or Firmware()
    if firmware.uuid:
        return spec
    firmware = evolve(firmware, uuid=firmware_uuid(vm_name))
    return evolve(spec, domain=evolve(spec.domain, firmware=firmware))


def with_default_memory(spec: VirtualMachineInstanceSpec) -> VirtualMachineInstanceSpec:
    memory, resources = spec.domain.memory or Memory(), spec.domain.resources or ResourceRequirements()
    if memory.guest or memory.hugepages or "memory" in {**resources.requests, **resources.limits}:
        return spec
    return evolve(spec, domain=evolve(spec.domain, memory=evolve(memory, guest=DEFAULT_MEMORY)))


def with_default_input(
    spec: VirtualMachineInstanceSpec, preferred: DevicePreferences | None
) -> VirtualMachineInstanceSpec:
    devices, wished = spec.domain.devices, preferred or DevicePreferences()
    if not devices.autoattach_input_device or devices.inputs:
        return spec
    bus, type_ = wished.preferred_input_bus or "usb", wished.preferred_input_type or "tablet"
    devices = evolve(devices, inputs=[Input(name=DEFAULT_INPUT, bus=bus, type=type_)])
    return evolve(spec, domain=evolve(spec.domain, devices=devices))


def instance_of(
    view: View,
    *,
    spec: VirtualMachineInstanceSpec,
    annotations: dict[str, str],
    revision: str,
    preferred: DevicePreferences | None = None,
) -> VirtualMachineInstance:
    """`spec` and `annotations`: the template's, with instancetype and preference applied."""
    vm: VirtualMachine = view.vm
    metadata = view.template_metadata
    given = {**metadata.annotations, **annotations}
    given[names.VM_GENERATION] = str(vm.metadata.generation)
    for key in (names.PCI_TOPOLOGY_VERSION, names.PCI_INTERFACE_SLOTS):
        if key in vm.metadata.annotations and key not in given:
            given[key] = vm.metadata.annotations[key]
    if view.strategy == "WaitAsReceiver":
        given[names.CREATE_MIGRATION_TARGET] = "true"
    spec = with_default_input(with_firmware_uuid(with_default_memory(spec), vm.metadata.name), preferred)
    spec = memorydump.without_done(spec, vm.status.memory_dump_request)
    if view.start_requested and view.request is not None and view.request.data.get("paused") == "true":
        spec = evolve(spec, start_strategy="Paused")
    return VirtualMachineInstance(
        metadata=ObjectMeta(
            name=vm.metadata.name,
            namespace=vm.metadata.namespace,
            labels=metadata.labels,
            annotations=given,
            owner_references=[owner_reference(vm)],
            finalizers=[names.VM_FINALIZER],
        ),
        spec=spec,
        status=VirtualMachineInstanceStatus(virtual_machine_revision_name=revision),
    )

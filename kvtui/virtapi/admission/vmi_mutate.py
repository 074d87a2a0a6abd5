"""What a VirtualMachineInstance becomes when it is created: presets, all defaults, first status.

Source: control plane facts 3.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.domain import CPU, EFI, Bootloader, Firmware
from kvtui.api.kubevirt.vmi import (
    CPUTopology,
    MemoryStatus,
    VirtualMachineInstance,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus,
)
from kvtui.api.quantity import binary
from kvtui.api.wire import evolve
from kvtui.virtapi.admission import amounts, hotplug_memory
from kvtui.virtapi.admission.defaults import shared_defaults
from kvtui.virtapi.admission.defaults_devices import object_defaults
from kvtui.virtapi.admission.hyperv import dependency_defaults

if TYPE_CHECKING:
    from kvtui.virtapi.admission.config import ClusterConfig

Spec = VirtualMachineInstanceSpec

FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"
PCI_TOPOLOGY = "kubevirt.io/pci-topology-version"
QUOTE_SOCKET = "kubevirt.io/qgs-socket-path"
QEMU_USER = 107
MOST_VCPUS = 512
PCI_TOPOLOGY_VERSION = "v3"


def has_pci_topology(spec: Spec) -> bool:
    """PCI slot layouts are versioned for the machine types that have a PCIe root."""
    machine = (spec.domain.machine.type if spec.domain.machine else None) or ""
    has_root = "q35" in machine or machine.startswith("virt")
    return has_root and (spec.architecture or "amd64") in ("amd64", "arm64")


def created(vmi: VirtualMachineInstance, config: ClusterConfig, *, uuid: str, now: str) -> VirtualMachineInstance:
    """The instance as stored, presets already applied. Raises Denied (400)."""
    spec = instance_defaults(vmi.spec or VirtualMachineInstanceSpec(), config, uuid=uuid)
    metadata = vmi.metadata
    annotations = dict(metadata.annotations)
    if has_pci_topology(spec):
        annotations.setdefault(PCI_TOPOLOGY, PCI_TOPOLOGY_VERSION)
    if spec.domain.launch_security is not None and spec.domain.launch_security.tdx is not None:
        annotations.setdefault(QUOTE_SOCKET, config.quote_generation_socket)
    metadata = evolve(metadata, annotations=annotations, finalizers=[*metadata.finalizers, FINALIZER])
    return evolve(vmi, metadata=metadata, spec=spec, status=first_status(vmi, spec, config, now))


def instance_defaults(spec: Spec, config: ClusterConfig, *, uuid: str) -> Spec:
    """Every default of an instance's spec. Raises Denied (400)."""
    spec = shared_defaults(spec, config)
    spec = object_defaults(spec, uuid)
    spec = dependency_defaults(spec)
    spec = cpu_model(spec, config)
    return hotplug_headroom(spec, config) if config.live_update else spec


def cpu_model(spec: Spec, config: ClusterConfig) -> Spec:
    """host-model where nothing is said; arm64 passes the host's CPU through and boots by UEFI without secure boot."""
    cpu = spec.domain.cpu or CPU()
    if spec.architecture == "arm64":
        firmware = spec.domain.firmware or Firmware()
        if firmware.bootloader is None:
            firmware = evolve(firmware, bootloader=Bootloader(efi=EFI(secure_boot=False)))
        elif firmware.bootloader.efi is not None and firmware.bootloader.efi.secure_boot is None:
            efi = evolve(firmware.bootloader.efi, secure_boot=False)
            firmware = evolve(firmware, bootloader=evolve(firmware.bootloader, efi=efi))
        cpu = evolve(cpu, model=cpu.model or "host-passthrough")
        return evolve(spec, domain=evolve(spec.domain, cpu=cpu, firmware=firmware))
    cpu = evolve(cpu, model=cpu.model or config.configuration.cpu_model or "host-model")
    return evolve(spec, domain=evolve(spec.domain, cpu=cpu))


def hotplug_headroom(spec: Spec, config: ClusterConfig) -> Spec:
    """Room to add sockets and memory later, when the rollout strategy is LiveUpdate; not on arm64."""
    if spec.architecture == "arm64":
        return spec
    return _memory_headroom(_cpu_headroom(spec, config), config)


def _cpu_headroom(spec: Spec, config: ClusterConfig) -> Spec:
    cpu = spec.domain.cpu or CPU()
    sockets, per_socket = cpu.sockets or 0, (cpu.cores or 0) * (cpu.threads or 0)
    most = cpu.max_sockets or config.max_cpu_sockets
    if not cpu.max_sockets and most and sockets > most:
        most = sockets
    if not most:
        most = sockets * config.hotplug_ratio % 2**32
        if most * per_socket > MOST_VCPUS:
            most = max(MOST_VCPUS // per_socket, sockets)
    return evolve(spec, domain=evolve(spec.domain, cpu=evolve(cpu, max_sockets=most or None)))


def _memory_headroom(spec: Spec, config: ClusterConfig) -> Spec:
    memory = spec.domain.memory
    if memory is None or memory.guest is None or memory.max_guest is not None:
        return spec
    most = config.max_guest
    if most is None:
        most = binary(amounts.value(memory.guest) * config.hotplug_ratio)
    domain = evolve(spec.domain, memory=evolve(memory, max_guest=most))
    if hotplug_memory.obstacle(domain, spec.architecture or ""):
        return spec
    return evolve(spec, domain=domain)


def first_status(
    vmi: VirtualMachineInstance, spec: Spec, config: ClusterConfig, now: str
) -> VirtualMachineInstanceStatus:
    status = vmi.status or VirtualMachineInstanceStatus()
    cpu, memory = spec.domain.cpu or CPU(), spec.domain.memory
    step = VirtualMachineInstancePhaseTransitionTimestamp(phase="Pending", phase_transition_timestamp=now)
    status = evolve(
        status,
        phase="Pending",
        phase_transition_timestamps=[*status.phase_transition_timestamps, step],
        runtime_user=0 if config.gate("Root") else QEMU_USER,
        current_cpu_topology=CPUTopology(cores=cpu.cores, sockets=cpu.sockets, threads=cpu.threads),
    )
    if memory is not None and memory.guest is not None:
        guest = memory.guest
        status = evolve(status, memory=MemoryStatus(guest_at_boot=guest, guest_current=guest, guest_requested=guest))
    return status

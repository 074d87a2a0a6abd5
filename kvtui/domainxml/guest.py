"""One VMI together with its context, and what several devices need to know about it.

Rules that more than one element depends on are answered here, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from kvtui.api import quantity
from kvtui.domainxml.architecture import TRAITS, Arch, Traits, arch_of
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.paths import Paths, UpstreamPaths
from kvtui.domainxml.pinning import Pinning, plan
from kvtui.errors import InvalidQuantity

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import CPU, Devices, DomainSpec, Features
    from kvtui.api.kubevirt.domain import Firmware as FirmwareSpec
    from kvtui.api.kubevirt.vmi import (
        VirtualMachineInstance,
        VirtualMachineInstanceNetworkInterface,
        VirtualMachineInstanceSpec,
        VirtualMachineInstanceStatus,
        Volume,
        VolumeStatus,
    )
    from kvtui.api.wire import Quantity
    from kvtui.domainxml.context import Context

MAX_VCPUS = 4096
"""More than any machine type takes; keeps a typing error from making a document of millions of lines."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Sockets, cores per socket, threads per core."""

    sockets: int
    cores: int
    threads: int

    @property
    def vcpus(self) -> int:
        return self.sockets * self.cores * self.threads


@dataclass(frozen=True)
class Guest:
    """A VMI to convert. Raises ConversionError where a property's field makes no sense."""

    vmi: VirtualMachineInstance
    context: Context

    @property
    def spec(self) -> VirtualMachineInstanceSpec:
        return self.vmi.spec

    @property
    def status(self) -> VirtualMachineInstanceStatus:
        return self.vmi.status

    @property
    def domain(self) -> DomainSpec:
        return self.spec.domain

    @property
    def devices(self) -> Devices:
        return self.spec.domain.devices

    @property
    def features(self) -> Features | None:
        return self.domain.features

    @property
    def cpu(self) -> CPU | None:
        return self.domain.cpu

    @property
    def firmware(self) -> FirmwareSpec | None:
        return self.domain.firmware

    def annotation(self, name: str) -> str:
        return self.vmi.metadata.annotations.get(name, "")

    @cached_property
    def arch(self) -> Arch:
        return arch_of(self.spec.architecture)

    @property
    def traits(self) -> Traits:
        return TRAITS[self.arch]

    @property
    def foreign(self) -> bool:
        """The guest's architecture is not the node's."""
        host = self.context.host_arch
        return host is not None and host is not self.arch

    @cached_property
    def paths(self) -> Paths:
        return self.context.paths or UpstreamPaths.of(self.vmi)

    @property
    def virtio(self) -> str:
        """The model word of virtio devices."""
        if self.arch is Arch.S390X:
            return "virtio"
        return "virtio-transitional" if self.devices.use_virtio_transitional else "virtio-non-transitional"

    @cached_property
    def topology(self) -> Topology:
        """Present sockets, cores and threads; sockets follow the resources when none of them is given."""
        cpu = self.cpu
        sockets, cores, threads = (cpu.sockets or 0, cpu.cores or 0, cpu.threads or 0) if cpu else (0, 0, 0)
        if not (sockets or cores or threads):
            resources = self.domain.resources
            limits, requests = (resources.limits, resources.requests) if resources else ({}, {})
            for amounts in (limits, requests):
                if "cpu" in amounts:
                    sockets = self.count(amounts["cpu"], "spec.domain.resources")
                    break
        return self._sane(Topology(sockets or 1, cores or 1, threads or 1))

    @cached_property
    def maximal_topology(self) -> Topology:
        """With the sockets that may be added later."""
        if not self.sockets_can_grow:
            return self.topology
        assert self.cpu is not None
        return self._sane(Topology(self.cpu.max_sockets or 1, self.topology.cores, self.topology.threads))

    @property
    def sockets_can_grow(self) -> bool:
        return bool(self.cpu and self.cpu.max_sockets and self.traits.cpu_hotplug)

    @staticmethod
    def _sane(topology: Topology) -> Topology:
        if min(topology.sockets, topology.cores, topology.threads) < 1 or topology.vcpus > MAX_VCPUS:
            raise ConversionError(
                f"{topology.sockets} sockets of {topology.cores} cores with {topology.threads} threads "
                f"are not between 1 and {MAX_VCPUS} vCPUs",
                field="spec.domain.cpu",
            )
        return topology

    @property
    def dedicated_cpus(self) -> bool:
        return bool(self.cpu and self.cpu.dedicated_cpu_placement)

    @property
    def isolated_emulator(self) -> bool:
        return bool(self.dedicated_cpus and self.cpu and self.cpu.isolate_emulator_thread)

    @property
    def realtime(self) -> bool:
        return bool(self.cpu and self.cpu.realtime is not None)

    @property
    def numa_passthrough(self) -> bool:
        return bool(self.cpu and self.cpu.numa and self.cpu.numa.guest_mapping_passthrough is not None)

    @cached_property
    def pinning(self) -> Pinning | None:
        """Where vCPUs and threads run, for a guest with dedicated CPUs. Raises ConversionError."""
        return plan(self)

    @property
    def hugepages(self) -> bool:
        return bool(self.domain.memory and self.domain.memory.hugepages)

    @property
    def high_performance(self) -> bool:
        isolated = bool(self.cpu and self.cpu.isolate_emulator_thread)
        return self.dedicated_cpus or isolated or self.realtime or self.hugepages

    @property
    def guest_memory(self) -> Quantity:
        """Memory at boot: what the guest asks, else the request, else the limit."""
        memory, resources = self.domain.memory, self.domain.resources
        if memory and memory.guest is not None:
            return memory.guest
        for amounts in (resources.requests, resources.limits) if resources else ():
            if "memory" in amounts:
                return amounts["memory"]
        return 0

    @property
    def shared_memory(self) -> bool:
        """Another process than QEMU serves a device out of guest memory."""
        passt = any(i.passt_binding is not None for i in self.devices.interfaces)
        return passt or any(f.virtiofs is not None for f in self.devices.filesystems)

    @property
    def memfd(self) -> bool:
        wanted = self.hugepages and self.annotation("kubevirt.io/memfd") != "false"
        return self.traits.memfd and (wanted or self.shared_memory)

    @property
    def sev(self) -> bool:
        """AMD SEV or SEV-SNP."""
        security = self.domain.launch_security
        return bool(security and (security.sev is not None or security.snp is not None))

    @property
    def snp(self) -> bool:
        security = self.domain.launch_security
        return bool(security and security.snp is not None)

    @property
    def tdx(self) -> bool:
        security = self.domain.launch_security
        return bool(security and security.tdx is not None)

    @property
    def iommu(self) -> bool:
        """Virtio devices must go through the IOMMU: the host cannot read guest memory."""
        secure_execution = self.arch is Arch.S390X and self.domain.launch_security is not None
        return self.sev or secure_execution

    @property
    def efi(self) -> bool:
        firmware = self.firmware
        return bool(firmware and firmware.bootloader and firmware.bootloader.efi is not None)

    @property
    def graphics(self) -> bool:
        return self.devices.autoattach_graphics_device is not False and not self.foreign

    @property
    def serial_console(self) -> bool:
        return self.devices.autoattach_serial_console is not False

    @cached_property
    def volumes(self) -> dict[str, tuple[int, Volume]]:
        """Volumes and their places in the list, by name."""
        return {volume.name: (index, volume) for index, volume in enumerate(self.spec.volumes)}

    @cached_property
    def volume_status(self) -> dict[str, VolumeStatus]:
        return {entry.name: entry for entry in self.status.volume_status}

    def interface_status(self, name: str) -> VirtualMachineInstanceNetworkInterface | None:
        return next((i for i in self.status.interfaces if i.name == name), None)

    @staticmethod
    def count(amount: Quantity, field: str) -> int:
        """Whole units of a quantity, rounded up. Raises ConversionError."""
        try:
            return quantity.value(amount)
        except InvalidQuantity as error:
            raise ConversionError(str(error), field=field) from error

    @staticmethod
    def bytes(amount: Quantity, field: str) -> int:
        """Bytes of a memory quantity; a fraction of a byte is cut off. Raises ConversionError."""
        try:
            exact = quantity.parse(amount)
        except InvalidQuantity as error:
            raise ConversionError(str(error), field=field) from error
        if exact < 0:
            raise ConversionError(f"Memory size '{amount}' must be greater than or equal to 0", field=field)
        return int(exact)

"""What differs between guest architectures.

Source: KubeVirt's per-architecture converters; https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kvtui.domainxml.errors import ConversionError


class Arch(Enum):
    """A guest architecture by its Kubernetes name."""

    AMD64 = "amd64"
    ARM64 = "arm64"
    S390X = "s390x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Capabilities of one architecture as far as the domain document is concerned."""

    libvirt: str
    """libvirt's and QEMU's name, such as x86_64."""
    disk_bus: str
    """Bus of a disk that names none."""
    smbios: bool = True
    """The guest can read SMBIOS tables."""
    cpu_hotplug: bool = True
    """Sockets may be added up to maxSockets."""
    memfd: bool = True
    """Guest memory may be backed by memfd, which needs a NUMA cell."""
    rom_tuning: bool = True
    """A NIC's option ROM can be switched off."""
    vmport: bool = False
    """There is a VMware port to switch off."""
    mpx: bool = False
    """Named CPU models list the withdrawn mpx feature, which has to be disabled."""
    pci_hole: bool = False
    """The 64-bit PCI hole can be switched off."""
    hint_dedicated: bool = False
    """Guests can be told that their CPUs are dedicated."""
    debug_port: bool = False
    """The firmware writes to an ISA debug port."""
    max_block_size: int = 0
    """Bytes of the largest block that a disk may have; 0 is any."""
    pci_ports: bool = False
    """Devices sit behind PCIe root ports."""


TRAITS = {
    Arch.AMD64: Traits(
        libvirt="x86_64",
        disk_bus="sata",
        vmport=True,
        mpx=True,
        pci_hole=True,
        hint_dedicated=True,
        debug_port=True,
        pci_ports=True,
    ),
    Arch.ARM64: Traits(libvirt="aarch64", disk_bus="virtio", smbios=True, cpu_hotplug=False, pci_ports=True),
    Arch.S390X: Traits(
        libvirt="s390x", disk_bus="virtio", smbios=False, memfd=False, rom_tuning=False, max_block_size=4096
    ),
}


def arch_of(name: str | None) -> Arch:
    """The architecture with this Kubernetes name; amd64 when unset. Raises ConversionError."""
    try:
        return Arch(name or "amd64")
    except ValueError:
        raise ConversionError(f"unsupported architecture: {name}", field="spec.architecture") from None

"""What a conversion knows beside the VMI: the node, its devices, the cluster's settings, where files are.

All of it is plain data gathered by the node agent; the converter itself looks at nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.vintage import NEWEST, Version

if TYPE_CHECKING:
    from kvtui.api.kubevirt.config import KubeVirtConfiguration
    from kvtui.domainxml.firmware import Firmware
    from kvtui.domainxml.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Smbios:
    """The system table that every guest of the cluster sees."""

    manufacturer: str = "KubeVirt"
    family: str = "KubeVirt"
    product: str = "None"
    sku: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Fragments of KubeVirt.spec.configuration that shape domains."""

    smbios: Smbios = Smbios()
    balloon_stats_period: int = 10
    """Seconds between balloon statistics; 0 collects none."""
    free_page_reporting: bool = True
    serial_console_log: bool = True
    """The serial console is logged unless the VMI says otherwise."""
    tap_bindings: frozenset[str] = frozenset()
    """Binding plugins that attach the guest by a tap device."""
    gates: frozenset[str] = frozenset()
    """Names of the feature gates that are on."""
    vga_for_efi: bool = False
    """UEFI guests on amd64 get a VGA display as of old instead of bochs."""


def cluster_of(configuration: KubeVirtConfiguration | None, *, vga_for_efi: bool = False) -> Cluster:
    """The fragments of a cluster configuration, defaults filled in."""
    if configuration is None:
        return Cluster(vga_for_efi=vga_for_efi)
    given, default = configuration.smbios, Smbios()
    options, network = configuration.virtual_machine_options, configuration.network
    developer, period = configuration.developer_configuration, configuration.mem_balloon_stats_period
    return Cluster(
        smbios=default
        if given is None
        else Smbios(
            manufacturer=given.manufacturer or default.manufacturer,
            family=given.family or default.family,
            product=given.product or default.product,
            sku=given.sku or default.sku,
            version=given.version or default.version,
        ),
        balloon_stats_period=10 if period is None else max(period, 0),
        free_page_reporting=options is None or options.disable_free_page_reporting is None,
        serial_console_log=options is None or options.disable_serial_console_log is None,
        tap_bindings=frozenset(
            name
            for name, plugin in (network.binding if network else {}).items()
            if plugin.domain_attachment_type in ("tap", "managedTap")
        ),
        gates=frozenset(developer.feature_gates if developer else ()),
        vga_for_efi=vga_for_efi,
    )


@dataclass(frozen=True, slots=True)
class HostCell:
    """A NUMA cell of the node."""

    id: int
    cores: tuple[tuple[int, ...], ...]
    """Host threads by core, in the node's order."""
    distances: Mapping[int, int] = field(default_factory=dict)
    """Distance to each cell, by its id."""

    @classmethod
    def of(cls, cell: int, siblings: Mapping[int, Sequence[int]], distances: Mapping[int, int]) -> HostCell:
        """From what libvirt's capabilities say of each host thread: the threads that share its core."""
        cores: list[tuple[int, ...]] = []
        seen: set[int] = set()
        for thread, shared in siblings.items():
            if thread not in seen:
                cores.append(tuple(shared) or (thread,))
                seen.update(cores[-1])
        return cls(cell, tuple(cores), distances)


@dataclass(frozen=True, slots=True)
class BlockSizes:
    """Block sizes in bytes that a volume reports; 0 is not known."""

    logical: int
    physical: int
    discard_granularity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings of one conversion."""

    kvm: bool = True
    """KVM works on this node."""
    allow_emulation: bool = False
    """Guests may be emulated where KVM does not work."""
    host_arch: Arch | None = None
    """The node's architecture; None takes every guest's as native."""
    emulators: Mapping[Arch, str] = field(default_factory=dict)
    """QEMU binaries for foreign architectures."""
    cpu_set: tuple[int, ...] = ()
    """Host threads that belong to this VM alone."""
    numa: tuple[HostCell, ...] = ()
    firmware: Firmware | None = None
    """UEFI images of the node; None means all that upstream ships."""
    block_volumes: frozenset[str] = frozenset()
    """PVC and DataVolume volumes that are block devices; all others hold an image file."""
    container_disk_formats: Mapping[str, str] = field(default_factory=dict)
    """Image format by containerDisk volume; qcow2 unless listed."""
    preallocated_volumes: frozenset[str] = frozenset()
    """Volumes whose blocks must stay allocated, so the guest's discards are not passed on."""
    changed_block_tracking: Mapping[str, str] = field(default_factory=dict)
    """Path of the tracking overlay by volume."""
    block_sizes: Mapping[str, BlockSizes] = field(default_factory=dict)
    """Block sizes by volume, for disks that ask to match them."""
    device_env: Mapping[str, str] = field(default_factory=dict)
    """What device plugins hand over: PCI_RESOURCE_…, MDEV_PCI_RESOURCE_…, USB_RESOURCE_…"""
    sriov_addresses: Mapping[str, str] = field(default_factory=dict)
    """PCI address of the virtual function by network name."""
    device_cells: Mapping[str, int] = field(default_factory=dict)
    """Host NUMA cell by PCI address of a host device."""
    libvirt: Version = NEWEST
    """Version of the node's libvirt, for devices that are plugged in; `Placement` has it for whole domains."""
    launcher_verbosity: int = 0
    """Above 5 the firmware's debug port is logged."""
    cluster: Cluster = Cluster()
    paths: Paths | None = None
    """Where the files are; None is upstream's layout inside a launcher Pod."""

    def gate(self, name: str) -> bool:
        return name in self.cluster.gates

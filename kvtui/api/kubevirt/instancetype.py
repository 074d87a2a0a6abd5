"""Instancetypes and preferences: sizes and tastes by name.

Source: kubevirt.io/api/instancetype/v1beta1.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.kubevirt.domain import (
    EFI,
    GPU,
    NUMA,
    BlockSize,
    ClockOffsetUTC,
    CPUFeature,
    DiskIOThreads,
    FeatureAPIC,
    FeatureHyperv,
    FeatureKVM,
    FeatureState,
    HostDevice,
    Hugepages,
    InterfaceMasquerade,
    LaunchSecurity,
    Realtime,
    Rng,
    Timer,
    TPMDevice,
    VGPUOptions,
)
from kvtui.api.meta import Resource
from kvtui.api.wire import ATOMIC, INT32, INT64, REQUIRED, Quantity, Wire, named


class CPUInstancetype(Wire, frozen=True):
    """CPU instancetype."""

    dedicated_cpu_placement: bool | None = named("dedicatedCPUPlacement", None)
    guest: Annotated[int, REQUIRED, INT32] = 0
    isolate_emulator_thread: bool | None = None
    max_sockets: Annotated[int | None, INT32] = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None


class MemoryInstancetype(Wire, frozen=True):
    """Memory instancetype."""

    guest: Annotated[Quantity, REQUIRED] = "0"
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    overcommit_percent: Annotated[int | None, INT32] = None


class VirtualMachineInstancetypeSpec(Wire, frozen=True):
    """Virtual machine instancetype spec."""

    annotations: dict[str, str] = {}
    cpu: Annotated[CPUInstancetype, REQUIRED] = CPUInstancetype()
    gpus: Annotated[list[GPU], ATOMIC] = []
    host_devices: Annotated[list[HostDevice], ATOMIC] = []
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    memory: Annotated[MemoryInstancetype, REQUIRED] = MemoryInstancetype()
    node_selector: dict[str, str] = {}
    scheduler_name: str | None = None


class VirtualMachineClusterInstancetype(Resource, frozen=True):
    """Virtual machine cluster instancetype."""

    spec: Annotated[VirtualMachineInstancetypeSpec, REQUIRED] = VirtualMachineInstancetypeSpec()


class ClockOffset(Wire, frozen=True):
    """Clock offset."""

    timezone: str | None = None
    utc: ClockOffsetUTC | None = None


class ClockPreferences(Wire, frozen=True):
    """Clock preferences."""

    preferred_clock_offset: ClockOffset | None = None
    preferred_timer: Timer | None = None


class SpreadOptions(Wire, frozen=True):
    """Spread options."""

    across: str | None = None
    ratio: Annotated[int | None, INT32] = None


class CPUPreferences(Wire, frozen=True):
    """CPU preferences."""

    preferred_cpu_features: list[CPUFeature] = named("preferredCPUFeatures", [])
    preferred_cpu_topology: str | None = named("preferredCPUTopology", None)
    spread_options: SpreadOptions | None = None


class DevicePreferences(Wire, frozen=True):
    """Device preferences."""

    preferred_autoattach_graphics_device: bool | None = None
    preferred_autoattach_input_device: bool | None = None
    preferred_autoattach_mem_balloon: bool | None = None
    preferred_autoattach_pod_interface: bool | None = None
    preferred_autoattach_serial_console: bool | None = None
    preferred_block_multi_queue: bool | None = None
    preferred_cdrom_bus: str | None = None
    preferred_disable_hotplug: bool | None = None
    preferred_disk_block_size: BlockSize | None = None
    preferred_disk_bus: str | None = None
    preferred_disk_cache: str | None = None
    preferred_disk_dedicated_io_thread: bool | None = None
    preferred_disk_io: str | None = named("preferredDiskIO", None)
    preferred_input_bus: str | None = None
    preferred_input_type: str | None = None
    preferred_interface_masquerade: InterfaceMasquerade | None = None
    preferred_interface_model: str | None = None
    preferred_lun_bus: str | None = None
    preferred_network_interface_multi_queue: bool | None = None
    preferred_panic_device_model: str | None = None
    preferred_rng: Rng | None = None
    preferred_sound_model: str | None = None
    preferred_tpm: TPMDevice | None = named("preferredTPM", None)
    preferred_use_virtio_transitional: bool | None = None
    preferred_video_type: str | None = None
    preferred_virtual_gpu_options: VGPUOptions | None = named("preferredVirtualGPUOptions", None)


class FeaturePreferences(Wire, frozen=True):
    """Feature preferences."""

    preferred_acpi: FeatureState | None = None
    preferred_apic: FeatureAPIC | None = None
    preferred_hyperv: FeatureHyperv | None = None
    preferred_kvm: FeatureKVM | None = None
    preferred_pvspinlock: FeatureState | None = None
    preferred_smm: FeatureState | None = None


class FirmwarePreferences(Wire, frozen=True):
    """Firmware preferences."""

    preferred_efi: EFI | None = None
    preferred_use_bios: bool | None = None
    preferred_use_bios_serial: bool | None = None
    preferred_use_efi: bool | None = None
    preferred_use_secure_boot: bool | None = None


class MachinePreferences(Wire, frozen=True):
    """Machine preferences."""

    preferred_machine_type: str | None = None


class CPUPreferenceRequirement(Wire, frozen=True):
    """CPU preference requirement."""

    guest: Annotated[int, REQUIRED, INT32] = 0


class MemoryPreferenceRequirement(Wire, frozen=True):
    """Memory preference requirement."""

    guest: Annotated[Quantity, REQUIRED] = "0"


class PreferenceRequirements(Wire, frozen=True):
    """Preference requirements."""

    architecture: str | None = None
    cpu: CPUPreferenceRequirement | None = None
    memory: MemoryPreferenceRequirement | None = None


class VolumePreferences(Wire, frozen=True):
    """Volume preferences."""

    preferred_storage_class_name: str | None = None


class VirtualMachinePreferenceSpec(Wire, frozen=True):
    """Virtual machine preference spec."""

    annotations: dict[str, str] = {}
    clock: ClockPreferences | None = None
    cpu: CPUPreferences | None = None
    devices: DevicePreferences | None = None
    features: FeaturePreferences | None = None
    firmware: FirmwarePreferences | None = None
    machine: MachinePreferences | None = None
    prefer_spread_socket_to_core_ratio: Annotated[int | None, INT32] = None
    preferred_architecture: str | None = None
    preferred_launch_security: LaunchSecurity | None = None
    preferred_subdomain: str | None = None
    preferred_termination_grace_period_seconds: Annotated[int | None, INT64] = None
    requirements: PreferenceRequirements | None = None
    volumes: VolumePreferences | None = None


class VirtualMachineClusterPreference(Resource, frozen=True):
    """Virtual machine cluster preference."""

    spec: Annotated[VirtualMachinePreferenceSpec, REQUIRED] = VirtualMachinePreferenceSpec()


class VirtualMachineInstancetype(Resource, frozen=True):
    """Virtual machine instancetype."""

    spec: Annotated[VirtualMachineInstancetypeSpec, REQUIRED] = VirtualMachineInstancetypeSpec()


class VirtualMachinePreference(Resource, frozen=True):
    """Virtual machine preference."""

    spec: Annotated[VirtualMachinePreferenceSpec, REQUIRED] = VirtualMachinePreferenceSpec()

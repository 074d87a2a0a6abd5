"""The machine a VMI asks for: CPU, memory, firmware, devices.

Source: kubevirt.io/api/core/v1, DomainSpec.
"""

from __future__ import annotations

from typing import Annotated

from kvtui.api.wire import ATOMIC, INT32, PRESERVE, REQUIRED, Quantity, Wire, named, one_of, schema


class Chassis(Wire, frozen=True):
    """What the guest reads about its chassis."""

    asset: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    sku: str | None = None
    version: str | None = None


class HPETTimer(Wire, frozen=True):
    """HPET timer."""

    present: bool | None = None
    tick_policy: str | None = None


class HypervTimer(Wire, frozen=True):
    """Hyperv timer."""

    present: bool | None = None


class KVMTimer(Wire, frozen=True):
    """KVM timer."""

    present: bool | None = None


class PITTimer(Wire, frozen=True):
    """PIT timer."""

    present: bool | None = None
    tick_policy: str | None = None


class RTCTimer(Wire, frozen=True):
    """RTC timer."""

    present: bool | None = None
    tick_policy: str | None = None
    track: str | None = None


class Timer(Wire, frozen=True):
    """Timer."""

    hpet: HPETTimer | None = None
    hyperv: HypervTimer | None = None
    kvm: KVMTimer | None = None
    pit: PITTimer | None = None
    rtc: RTCTimer | None = None


class ClockOffsetUTC(Wire, frozen=True):
    """Clock offset UTC."""

    offset_seconds: Annotated[int | None, INT32] = None


class Clock(Wire, frozen=True):
    """Time zone and timers."""

    timer: Timer | None = None
    timezone: str | None = None
    utc: ClockOffsetUTC | None = None


class CPUFeature(Wire, frozen=True):
    """A feature of the processor."""

    name: Annotated[str, REQUIRED] = ""
    policy: str | None = None


class NUMAGuestMappingPassthrough(Wire, frozen=True):
    """NUMA guest mapping passthrough."""


class NUMA(Wire, frozen=True):
    """NUMA."""

    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(Wire, frozen=True):
    """Realtime."""

    mask: str | None = None


class CPU(Wire, frozen=True):
    """Processors of the guest."""

    cores: Annotated[int | None, INT32] = None
    dedicated_cpu_placement: bool | None = None
    features: list[CPUFeature] = []
    isolate_emulator_thread: bool | None = None
    max_sockets: Annotated[int | None, INT32] = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None
    sockets: Annotated[int | None, INT32] = None
    threads: Annotated[int | None, INT32] = None


class ClientPassthroughDevices(Wire, frozen=True):
    """Client passthrough devices."""


class CustomBlockSize(Wire, frozen=True):
    """Custom block size."""

    discard_granularity: Annotated[int | None, INT32] = None
    logical: Annotated[int | None, INT32] = None
    physical: Annotated[int | None, INT32] = None


class FeatureState(Wire, frozen=True):
    """A feature that is on or off."""

    enabled: bool | None = None


class BlockSize(Wire, frozen=True):
    """Sector sizes that the guest sees."""

    custom: CustomBlockSize | None = None
    match_volume: FeatureState | None = None


class CDRomTarget(Wire, frozen=True):
    """A CD-ROM drive."""

    bus: str | None = None
    readonly: bool | None = None
    tray: str | None = None


class DiskTarget(Wire, frozen=True):
    """An ordinary disk."""

    bus: str | None = None
    pci_address: str | None = None
    readonly: bool | None = None


class LunTarget(Wire, frozen=True):
    """A disk to which SCSI commands are passed through."""

    bus: str | None = None
    readonly: bool | None = None
    reservation: bool | None = None


class Disk(Wire, frozen=True):
    """A disk, with the volume of the same name."""

    block_size: BlockSize | None = None
    boot_order: Annotated[int | None, INT32] = None
    cache: str | None = None
    cdrom: CDRomTarget | None = None
    changed_block_tracking: bool | None = None
    dedicated_io_thread: bool | None = named("dedicatedIOThread", None)
    disk: DiskTarget | None = None
    error_policy: str | None = None
    io: str | None = None
    lun: LunTarget | None = None
    name: Annotated[str, REQUIRED] = ""
    serial: str | None = None
    shareable: bool | None = None
    tag: str | None = None


class DownwardMetrics(Wire, frozen=True):
    """Downward metrics."""


class FilesystemVirtiofs(Wire, frozen=True):
    """Filesystem virtiofs."""


class Filesystem(Wire, frozen=True):
    """A file system of the node that the guest mounts."""

    name: Annotated[str, REQUIRED] = ""
    virtiofs: Annotated[FilesystemVirtiofs | None, REQUIRED] = None


class VGPUDisplayOptions(Wire, frozen=True):
    """VGPU display options."""

    enabled: bool | None = None
    ram_fb: FeatureState | None = named("ramFB", None)


class VGPUOptions(Wire, frozen=True):
    """VGPU options."""

    display: VGPUDisplayOptions | None = None


class GPU(Wire, frozen=True):
    """A graphics processor that is passed through."""

    claim_name: str | None = None
    device_name: str | None = None
    name: Annotated[str, REQUIRED] = ""
    request_name: str | None = None
    tag: str | None = None
    virtual_gpu_options: VGPUOptions | None = named("virtualGPUOptions", None)


class HostDevice(Wire, frozen=True):
    """A device that is passed through."""

    claim_name: str | None = None
    device_name: str | None = None
    name: Annotated[str, REQUIRED] = ""
    request_name: str | None = None
    tag: str | None = None


class Input(Wire, frozen=True):
    """A tablet or keyboard."""

    bus: str | None = None
    name: Annotated[str, REQUIRED] = ""
    type: Annotated[str, REQUIRED] = ""


class PluginBinding(Wire, frozen=True):
    """Plugin binding."""

    name: Annotated[str, REQUIRED] = ""


class InterfaceBridge(Wire, frozen=True):
    """A bridge between launcher and guest."""


class DHCPPrivateOptions(Wire, frozen=True):
    """DHCP private options."""

    option: Annotated[int, REQUIRED, INT32] = 0
    value: Annotated[str, REQUIRED] = ""


class DHCPOptions(Wire, frozen=True):
    """Options for the guest's DHCP client."""

    boot_file_name: str | None = None
    ntp_servers: list[str] = []
    private_options: list[DHCPPrivateOptions] = []
    tftp_server_name: str | None = None


class DeprecatedInterfaceMacvtap(Wire, frozen=True):
    """Deprecated interface macvtap."""


class InterfaceMasquerade(Wire, frozen=True):
    """Address translation between launcher and guest."""


class DeprecatedInterfacePasst(Wire, frozen=True):
    """Deprecated interface passt."""


class InterfacePasstBinding(Wire, frozen=True):
    """Interface passt binding."""


class PortRange(Wire, frozen=True):
    """Port range."""

    end: Annotated[int, REQUIRED, INT32] = 0
    protocol: Annotated[str, REQUIRED] = ""
    start: Annotated[int, REQUIRED, INT32] = 0


class Port(Wire, frozen=True):
    """A port that is forwarded to the guest."""

    name: str | None = None
    port: Annotated[int, REQUIRED, INT32] = 0
    protocol: str | None = None


class DeprecatedInterfaceSlirp(Wire, frozen=True):
    """Deprecated interface slirp."""


class InterfaceSRIOV(Wire, frozen=True):
    """A virtual function of a network card."""


class Interface(Wire, frozen=True):
    """A network interface, with the network of the same name."""

    acpi_index: Annotated[int | None, INT32] = None
    binding: PluginBinding | None = None
    boot_order: Annotated[int | None, INT32] = None
    bridge: InterfaceBridge | None = None
    dhcp_options: DHCPOptions | None = None
    mac_address: str | None = None
    macvtap: DeprecatedInterfaceMacvtap | None = None
    masquerade: InterfaceMasquerade | None = None
    model: str | None = None
    name: Annotated[str, REQUIRED] = ""
    passt: DeprecatedInterfacePasst | None = None
    passt_binding: InterfacePasstBinding | None = None
    pci_address: str | None = None
    port_ranges: Annotated[list[PortRange], ATOMIC] = []
    ports: list[Port] = []
    slirp: DeprecatedInterfaceSlirp | None = None
    sriov: InterfaceSRIOV | None = None
    state: str | None = None
    tag: str | None = None


class PanicDevice(Wire, frozen=True):
    """A device through which the guest tells that it crashed."""

    model: str | None = None


class Rng(Wire, frozen=True):
    """Rng."""


class SoundDevice(Wire, frozen=True):
    """A sound card."""

    model: str | None = None
    name: Annotated[str, REQUIRED] = ""


class TPMDevice(Wire, frozen=True):
    """A trusted platform module."""

    enabled: bool | None = None
    persistent: bool | None = None


class VideoDevice(Wire, frozen=True):
    """The graphics card."""

    type: str | None = None


class Diag288Watchdog(Wire, frozen=True):
    """Diag288 watchdog."""

    action: str | None = None


class I6300ESBWatchdog(Wire, frozen=True):
    """The watchdog card for amd64 and arm64."""

    action: str | None = None


class Watchdog(Wire, frozen=True):
    """A watchdog that acts when the guest hangs."""

    diag288: Diag288Watchdog | None = None
    i6300esb: I6300ESBWatchdog | None = None
    name: Annotated[str, REQUIRED] = ""


class Devices(Wire, frozen=True):
    """Everything that is plugged in."""

    autoattach_graphics_device: bool | None = None
    autoattach_input_device: bool | None = None
    autoattach_mem_balloon: bool | None = None
    autoattach_pod_interface: bool | None = None
    autoattach_serial_console: bool | None = None
    autoattach_vsock: bool | None = named("autoattachVSOCK", None)
    block_multi_queue: bool | None = None
    client_passthrough: ClientPassthroughDevices | None = None
    disable_hotplug: bool | None = None
    disks: Annotated[list[Disk], schema(maxItems=256)] = []
    downward_metrics: DownwardMetrics | None = None
    filesystems: Annotated[list[Filesystem], ATOMIC] = []
    gpus: Annotated[list[GPU], ATOMIC] = []
    host_devices: Annotated[list[HostDevice], ATOMIC] = []
    inputs: list[Input] = []
    interfaces: Annotated[list[Interface], schema(maxItems=256)] = []
    log_serial_console: bool | None = None
    network_interface_multiqueue: bool | None = None
    panic_devices: list[PanicDevice] = []
    rng: Rng | None = None
    sound: SoundDevice | None = None
    tpm: TPMDevice | None = None
    use_virtio_transitional: bool | None = None
    video: VideoDevice | None = None
    watchdog: Watchdog | None = None


class FeatureAPIC(Wire, frozen=True):
    """Feature APIC."""

    enabled: bool | None = None
    end_of_interrupt: bool | None = None


class FeatureSpinlocks(Wire, frozen=True):
    """Feature spinlocks."""

    enabled: bool | None = None
    spinlocks: Annotated[int | None, INT32] = None


class SyNICTimer(Wire, frozen=True):
    """Sy NIC timer."""

    direct: FeatureState | None = None
    enabled: bool | None = None


class TLBFlush(Wire, frozen=True):
    """TLB flush."""

    direct: FeatureState | None = None
    enabled: bool | None = None
    extended: FeatureState | None = None


class FeatureVendorID(Wire, frozen=True):
    """Feature vendor ID."""

    enabled: bool | None = None
    vendorid: str | None = None


class FeatureHyperv(Wire, frozen=True):
    """Feature hyperv."""

    evmcs: FeatureState | None = None
    frequencies: FeatureState | None = None
    ipi: FeatureState | None = None
    reenlightenment: FeatureState | None = None
    relaxed: FeatureState | None = None
    reset: FeatureState | None = None
    runtime: FeatureState | None = None
    spinlocks: FeatureSpinlocks | None = None
    synic: FeatureState | None = None
    synictimer: SyNICTimer | None = None
    tlbflush: TLBFlush | None = None
    vapic: FeatureState | None = None
    vendorid: FeatureVendorID | None = None
    vpindex: FeatureState | None = None


class HyperVPassthrough(Wire, frozen=True):
    """Hyper v passthrough."""

    enabled: bool | None = None


class FeatureKVM(Wire, frozen=True):
    """Feature KVM."""

    hidden: bool | None = None


class Features(Wire, frozen=True):
    """Features of the processor and the hypervisor."""

    acpi: FeatureState | None = None
    apic: FeatureAPIC | None = None
    hyperv: FeatureHyperv | None = None
    hyperv_passthrough: HyperVPassthrough | None = None
    kvm: FeatureKVM | None = None
    pvspinlock: FeatureState | None = None
    smm: FeatureState | None = None


class ACPI(Wire, frozen=True):
    """ACPI."""

    msdm_name_ref: str | None = None
    slic_name_ref: str | None = None


class BIOS(Wire, frozen=True):
    """Firmware of the BIOS kind."""

    use_serial: bool | None = None


class EFI(Wire, frozen=True):
    """Firmware of the EFI kind."""

    persistent: bool | None = None
    secure_boot: bool | None = None


class Bootloader(Wire, frozen=True):
    """BIOS or EFI."""

    bios: BIOS | None = None
    efi: EFI | None = None


class KernelBootContainer(Wire, frozen=True):
    """Container image with kernel and initial RAM disk."""

    image: Annotated[str, REQUIRED] = ""
    image_pull_policy: Annotated[str | None, one_of("Always", "IfNotPresent", "Never")] = None
    image_pull_secret: str | None = None
    initrd_path: str | None = None
    kernel_path: str | None = None


class KernelBoot(Wire, frozen=True):
    """Boots a kernel directly, without boot loader."""

    container: KernelBootContainer | None = None
    kernel_args: str | None = None


class Firmware(Wire, frozen=True):
    """What runs before the operating system."""

    acpi: ACPI | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBoot | None = None
    serial: str | None = None
    uuid: str | None = None


class DiskIOThreads(Wire, frozen=True):
    """Disk IO threads."""

    supplemental_pool_thread_count: Annotated[int | None, INT32] = None


class SEVAttestation(Wire, frozen=True):
    """SEV attestation."""


class SEVPolicy(Wire, frozen=True):
    """SEV policy."""

    encrypted_state: bool | None = None


class SEV(Wire, frozen=True):
    """SEV."""

    attestation: SEVAttestation | None = None
    dh_cert: str | None = None
    policy: SEVPolicy | None = None
    session: str | None = None


class SEVSNP(Wire, frozen=True):
    """SEVSNP."""


class TDX(Wire, frozen=True):
    """TDX."""


class LaunchSecurity(Wire, frozen=True):
    """Encryption of the guest's memory."""

    sev: SEV | None = None
    snp: SEVSNP | None = None
    tdx: TDX | None = None


class Machine(Wire, frozen=True):
    """Type of the machine."""

    type: str | None = None


class Hugepages(Wire, frozen=True):
    """Huge pages below the guest's memory."""

    page_size: str | None = None


class ReservedOverhead(Wire, frozen=True):
    """Memory for the emulator beyond what is computed."""

    added_overhead: Quantity | None = None
    mem_lock: Annotated[str | None, schema(enum=["NotRequired", "Required"])] = None


class Memory(Wire, frozen=True):
    """Memory of the guest."""

    guest: Quantity | None = None
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    reserved_overhead: ReservedOverhead | None = None


class ResourceRequirements(Wire, frozen=True):
    """Requests and limits of the launcher."""

    limits: dict[str, Quantity] = {}
    overcommit_guest_overhead: bool | None = None
    requests: dict[str, Quantity] = {}


class DomainSpec(Wire, frozen=True):
    """The virtual hardware."""

    chassis: Chassis | None = None
    clock: Annotated[Clock | None, PRESERVE] = None
    cpu: CPU | None = None
    devices: Annotated[Devices, REQUIRED] = Devices()
    features: Features | None = None
    firmware: Firmware | None = None
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    machine: Machine | None = None
    memory: Memory | None = None
    reboot_policy: Annotated[str | None, schema(enum=["Reboot", "Terminate"])] = None
    resources: ResourceRequirements | None = None

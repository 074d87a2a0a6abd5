"""What a preference fills in where a VM's template leaves it open.

Source: life-cycle facts 8.3; kubevirt pkg/instancetype/preference/apply.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kvtui.api.kubevirt.domain import (
    BIOS,
    CPU,
    EFI,
    Bootloader,
    Clock,
    Devices,
    Disk,
    DiskTarget,
    FeatureHyperv,
    Features,
    Firmware,
    Interface,
    Machine,
    PanicDevice,
    VideoDevice,
)
from kvtui.api.kubevirt.instancetype import (
    ClockPreferences,
    DevicePreferences,
    FeaturePreferences,
    FirmwarePreferences,
    VirtualMachinePreferenceSpec,
)
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, VirtualMachineInstanceTemplateSpec
from kvtui.api.wire import Wire, evolve

Preference = VirtualMachinePreferenceSpec
Template = VirtualMachineInstanceTemplateSpec
Spec = VirtualMachineInstanceSpec

_AUTOATTACH = {
    "autoattach_graphics_device": "preferred_autoattach_graphics_device",
    "autoattach_mem_balloon": "preferred_autoattach_mem_balloon",
    "autoattach_pod_interface": "preferred_autoattach_pod_interface",
    "autoattach_serial_console": "preferred_autoattach_serial_console",
    "autoattach_input_device": "preferred_autoattach_input_device",
}
_PLAIN = {
    "use_virtio_transitional": "preferred_use_virtio_transitional",
    "block_multi_queue": "preferred_block_multi_queue",
    "network_interface_multiqueue": "preferred_network_interface_multi_queue",
    "rng": "preferred_rng",
    "tpm": "preferred_tpm",
}
_FEATURES = {
    "apic": "preferred_apic",
    "kvm": "preferred_kvm",
    "pvspinlock": "preferred_pvspinlock",
    "smm": "preferred_smm",
}


def apply(template: Template, preference: Preference) -> Template:
    """The template with the preference's share; the instancetype's must be there already."""
    spec = template.spec
    domain = spec.domain
    domain = evolve(
        domain,
        cpu=_cpu(domain.cpu, preference),
        devices=_devices(domain.devices, spec, preference.devices),
        features=_features(domain.features, preference.features),
        firmware=_firmware(domain.firmware, preference.firmware),
        machine=_machine(domain.machine, preference),
        clock=_clock(domain.clock, preference.clock),
        launch_security=domain.launch_security or preference.preferred_launch_security,
    )
    grace = preference.preferred_termination_grace_period_seconds
    spec = evolve(
        spec,
        domain=domain,
        subdomain=spec.subdomain or preference.preferred_subdomain,
        architecture=spec.architecture or preference.preferred_architecture,
        termination_grace_period_seconds=_or(spec.termination_grace_period_seconds, grace),
    )
    annotations = {**preference.annotations, **template.metadata.annotations}
    return evolve(template, spec=spec, metadata=evolve(template.metadata, annotations=annotations))


def autoattach(template: Template, preference: Preference) -> Template:
    """Only what decides about default devices, which is asked for before they are made."""
    if preference.devices is None:
        return template
    devices = evolve(
        template.spec.domain.devices, **_filled(template.spec.domain.devices, preference.devices, _AUTOATTACH)
    )
    return evolve(template, spec=evolve(template.spec, domain=evolve(template.spec.domain, devices=devices)))


def _or(own: Any, other: Any) -> Any:
    return other if own is None else own


def _filled(own: Wire, preferred: Wire, names: dict[str, str]) -> dict[str, Any]:
    return {name: _or(getattr(own, name), getattr(preferred, other)) for name, other in names.items()}


def _cpu(cpu: CPU | None, preference: Preference) -> CPU | None:
    wanted = preference.cpu.preferred_cpu_features if preference.cpu is not None else []
    if not wanted:
        return cpu
    cpu = cpu or CPU()
    known = {feature.name for feature in cpu.features}
    return evolve(cpu, features=[*cpu.features, *(feature for feature in wanted if feature.name not in known)])


def _devices(devices: Devices, spec: Spec, wanted: DevicePreferences | None) -> Devices:
    if wanted is None:
        return devices
    devices = evolve(devices, **_filled(devices, wanted, _AUTOATTACH | _PLAIN))
    if wanted.preferred_disable_hotplug is not None:
        devices = evolve(devices, disable_hotplug=wanted.preferred_disable_hotplug)
    if wanted.preferred_sound_model and devices.sound is not None and not devices.sound.model:
        devices = evolve(devices, sound=evolve(devices.sound, model=wanted.preferred_sound_model))
    if wanted.preferred_video_type:
        video = devices.video or VideoDevice()
        devices = evolve(devices, video=evolve(video, type=video.type or wanted.preferred_video_type))
    if wanted.preferred_panic_device_model is not None:
        panics = devices.panic_devices or [PanicDevice()]
        model = wanted.preferred_panic_device_model
        devices = evolve(devices, panic_devices=[evolve(panic, model=panic.model or model) for panic in panics])
    inputs = [
        evolve(
            device,
            bus=device.bus or wanted.preferred_input_bus,
            type=device.type or wanted.preferred_input_type or "",
        )
        for device in devices.inputs
    ]
    pods = {network.name for network in spec.networks if network.pod is not None}
    return evolve(
        devices,
        inputs=inputs,
        disks=[_disk(disk, wanted) for disk in devices.disks],
        interfaces=[_interface(interface, wanted, pods) for interface in devices.interfaces],
    )


def _disk(disk: Disk, wanted: DevicePreferences) -> Disk:
    if disk.disk is None and disk.cdrom is None and disk.lun is None:
        disk = evolve(disk, disk=DiskTarget())
    if disk.cdrom is not None:
        return evolve(disk, cdrom=evolve(disk.cdrom, bus=disk.cdrom.bus or wanted.preferred_cdrom_bus))
    if disk.lun is not None:
        return evolve(disk, lun=evolve(disk.lun, bus=disk.lun.bus or wanted.preferred_lun_bus))
    target = disk.disk or DiskTarget()
    target = evolve(target, bus=target.bus or wanted.preferred_disk_bus)
    disk = evolve(
        disk,
        disk=target,
        cache=disk.cache or wanted.preferred_disk_cache,
        io=disk.io or wanted.preferred_disk_io,
        block_size=disk.block_size or wanted.preferred_disk_block_size,
    )
    if disk.dedicated_io_thread is None and target.bus == "virtio":
        disk = evolve(disk, dedicated_io_thread=wanted.preferred_disk_dedicated_io_thread)
    return disk


def _interface(interface: Interface, wanted: DevicePreferences, pods: set[str]) -> Interface:
    interface = evolve(interface, model=interface.model or wanted.preferred_interface_model)
    bound = (interface.bridge, interface.masquerade, interface.sriov, interface.binding, interface.passt_binding)
    old = (interface.slirp, interface.macvtap, interface.passt)
    if interface.name in pods and all(binding is None for binding in (*bound, *old)):
        interface = evolve(interface, masquerade=wanted.preferred_interface_masquerade)
    return interface


def _features(features: Features | None, wanted: FeaturePreferences | None) -> Features | None:
    if wanted is None:
        return features
    features = features or Features()
    features = evolve(features, **_filled(features, wanted, _FEATURES))
    if wanted.preferred_acpi is not None:
        features = evolve(features, acpi=wanted.preferred_acpi)
    if wanted.preferred_hyperv is not None:
        own, other = features.hyperv or FeatureHyperv(), wanted.preferred_hyperv
        members = {name: _or(getattr(own, name), getattr(other, name)) for name in own.__struct_fields__}
        features = evolve(features, hyperv=msgspec.structs.replace(own, **members))
    return features


def _firmware(firmware: Firmware | None, wanted: FirmwarePreferences | None) -> Firmware | None:
    if wanted is None:
        return firmware
    firmware = firmware or Firmware()
    loader = firmware.bootloader or Bootloader()
    is_open = loader.bios is None and loader.efi is None
    if is_open and wanted.preferred_use_bios:
        loader = evolve(loader, bios=BIOS())
    if loader.bios is not None and loader.bios.use_serial is None and wanted.preferred_use_bios_serial:
        loader = evolve(loader, bios=evolve(loader.bios, use_serial=True))
    if loader.bios is None and loader.efi is None:
        if wanted.preferred_efi is not None:
            loader = evolve(loader, efi=wanted.preferred_efi)
        elif wanted.preferred_use_efi:
            loader = evolve(loader, efi=EFI(secure_boot=wanted.preferred_use_secure_boot))
    if loader == Bootloader():
        return firmware if firmware != Firmware() else None
    return evolve(firmware, bootloader=loader)


def _machine(machine: Machine | None, preference: Preference) -> Machine | None:
    wanted = preference.machine.preferred_machine_type if preference.machine is not None else None
    if not wanted or (machine is not None and machine.type):
        return machine
    return Machine(type=wanted)


def _clock(clock: Clock | None, wanted: ClockPreferences | None) -> Clock | None:
    if wanted is None:
        return clock
    clock = clock or Clock()
    offset = wanted.preferred_clock_offset
    if offset is not None and clock.utc is None and clock.timezone is None:
        clock = evolve(clock, utc=offset.utc, timezone=offset.timezone)
    return evolve(clock, timer=clock.timer or wanted.preferred_timer)

"""Devices of a VMI other than disks and NICs: inputs, GPUs, host devices, sound, video, panic, VSOCK, IO threads.

Source: control plane facts 5.3 (several fields are spelled as upstream spells them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import GPU
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

PANIC_MODELS = ("hyperv", "isa", "pvpanic")
IO_THREADS_POLICIES = ("shared", "auto", "supplementalPool")
CONFIG_VOLUMES = ("config_map", "secret", "service_account", "downward_api")
STORAGE_VOLUMES = ("persistent_volume_claim", "data_volume")


def validate_inputs(spec: Spec, field: Path) -> list[Cause]:
    found = []
    for position, device in enumerate(spec.domain.devices.inputs):
        own = field.child("domain", "devices", "inputs").item(position)
        if (device.bus or "") not in ("virtio", "usb", ""):
            found.append(invalid("Input device can have only virtio or usb bus.", own.child("bus")))
        if device.type != "tablet":
            found.append(invalid("Input device can have only tablet type.", own.child("type")))
    return found


def validate_io_threads(spec: Spec, field: Path) -> list[Cause]:
    policy, domain = spec.domain.io_threads_policy, field.child("domain")
    if policy is None:
        return []
    if policy not in IO_THREADS_POLICIES:
        return [invalid(f"Invalid IOThreadsPolicy ({policy})", domain.child("ioThreadsPolicy"))]
    pool = spec.domain.io_threads
    if policy == "supplementalPool" and ((pool.supplemental_pool_thread_count if pool else None) or 0) < 1:
        return [
            invalid(
                "the number of iothreads needs to be set and positive for the dedicated policy",
                domain.child("ioThreads", "count"),
            )
        ]
    return []


def _has_ram_display(gpu: GPU) -> bool:
    display = gpu.virtual_gpu_options.display if gpu.virtual_gpu_options else None
    if display is None or display.enabled is False:
        return False
    return display.ram_fb is None or bool(display.ram_fb.enabled)


def validate_ram_displays(spec: Spec, field: Path) -> list[Cause]:
    if sum(_has_ram_display(gpu) for gpu in spec.domain.devices.gpus) <= 1:
        return []
    return [invalid("configuring multiple displays with ramfb is not valid ", field.child("GPUs"))]


def validate_host_devices(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    if not spec.domain.devices.host_devices or config.gate("HostDevices"):
        return []
    return [invalid("Host Devices feature gate is not enabled in kubevirt-config", field.child("HostDevices"))]


def validate_sound(spec: Spec, field: Path) -> list[Cause]:
    sound, own, found = spec.domain.devices.sound, field.child("Sound"), []
    if sound is None:
        return []
    if sound.model and sound.model not in ("ich9", "ac97"):
        found.append(invalid("Sound device type is not supported. Options: 'ich9' or 'ac97'", own))
    if not sound.name:
        found.append(invalid("Sound device requires a name field.", own))
    return found


def validate_vsock(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    if not spec.domain.devices.autoattach_vsock or config.gate("VSOCK"):
        return []
    own = field.child("domain", "devices", "autoattachVSOCK")
    return [invalid("VSOCK feature gate is not enabled in kubevirt-config", own)]


def validate_reservations(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    wanted = any(disk.lun is not None and disk.lun.reservation for disk in spec.domain.devices.disks)
    if not wanted or config.persistent_reservation:
        return []
    own = field.child("domain", "devices", "disks", "luns", "reservation")
    return [invalid("persistent reservation is not enabled in kubevirt config", own)]


def validate_metrics_device(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    if spec.domain.devices.downward_metrics is None or config.gate("DownwardMetrics"):
        return []
    return [
        invalid(
            "downwardMetrics virtio serial is not allowed: DownwardMetrics feature gate is not enabled",
            field.child("domain", "devices", "downwardMetrics"),
        )
    ]


def validate_filesystems(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    """Sharing a claim by virtiofs needs a gate; configuration volumes need none any more."""
    volumes = {volume.name: volume for volume in spec.volumes}
    own, found = field.child("domain", "devices", "filesystems"), []
    for filesystem in spec.domain.devices.filesystems:
        volume = volumes.get(filesystem.name)
        if volume is None:
            continue
        stored = any(getattr(volume, name) is not None for name in STORAGE_VOLUMES)
        if stored and not config.gate("EnableVirtioFsStorageVolumes"):
            found.append(invalid("virtiofs is not allowed: virtiofs feature gate is not enabled for PVC", own))
    return found


def validate_video(spec: Spec, field: Path) -> list[Cause]:
    devices = spec.domain.devices
    if devices.video is None or devices.autoattach_graphics_device is not False:
        return []
    return [
        invalid(
            "Video configuration is not allowed when autoattachGraphicsDevice is set to false", field.child("video")
        )
    ]


def validate_panic_devices(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    own, found = field.child("domain", "devices", "panicDevices"), []
    devices = spec.domain.devices.panic_devices
    if devices and (spec.architecture or config.default_architecture) == "s390x":
        found.append(invalid("custom panic devices are not supported on s390x architecture", own))
    return found + [
        invalid(f"invalid PanicDeviceModel({device.model})", own.item(position).child("model"))
        for position, device in enumerate(devices)
        if device.model is not None and device.model not in PANIC_MODELS
    ]


def validate_reboot_policy(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    if spec.domain.reboot_policy is None or config.gate("RebootPolicy"):
        return []
    return [
        invalid(
            "RebootPolicy is specified but the RebootPolicy feature gate is not enabled",
            field.child("domain", "rebootPolicy"),
        )
    ]

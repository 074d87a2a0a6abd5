"""Defaults of a VMI spec, second half: firmware, features, devices, probes; only for instances.

Source: control plane facts 3.2, steps 11 to 13 and 14 (probes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from kvtui.api.kubevirt.domain import (
    Diag288Watchdog,
    DiskTarget,
    Features,
    FeatureState,
    Firmware,
    I6300ESBWatchdog,
)
from kvtui.api.wire import evolve

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import GPU, Clock, Disk, FeatureHyperv, Input, Watchdog
    from kvtui.api.kubevirt.vmi import Probe, VirtualMachineInstanceSpec

    Spec = VirtualMachineInstanceSpec

DISK_BUS = {"amd64": "sata", "arm64": "virtio", "s390x": "virtio"}
SPINLOCK_RETRIES = 4096


def object_defaults(spec: Spec, uuid: str) -> Spec:
    """Everything of this half; `uuid` is the firmware's identity when the spec names none."""
    domain, architecture = spec.domain, spec.architecture or "amd64"
    devices = domain.devices
    devices = evolve(
        devices,
        disks=[disk_defaults(disk, architecture) for disk in devices.disks],
        gpus=[gpu_defaults(gpu) for gpu in devices.gpus],
        inputs=[input_defaults(device) for device in devices.inputs],
        watchdog=watchdog_defaults(devices.watchdog, architecture),
    )
    firmware = domain.firmware or Firmware()
    if not firmware.uuid:
        firmware = evolve(firmware, uuid=uuid)
    domain = evolve(
        domain,
        devices=devices,
        firmware=firmware,
        features=feature_defaults(domain.features or Features(), architecture),
        clock=clock_defaults(domain.clock),
    )
    return evolve(
        spec,
        domain=domain,
        readiness_probe=probe_defaults(spec.readiness_probe),
        liveness_probe=probe_defaults(spec.liveness_probe),
    )


def disk_defaults(disk: Disk, architecture: str) -> Disk:
    if disk.disk is None and disk.cdrom is None and disk.lun is None:
        disk = evolve(disk, disk=DiskTarget())
    bus = DISK_BUS.get(architecture, "sata")
    if disk.disk is not None and not disk.disk.bus:
        disk = evolve(disk, disk=evolve(disk.disk, bus=bus))
    if disk.lun is not None and not disk.lun.bus:
        disk = evolve(disk, lun=evolve(disk.lun, bus=bus))
    if disk.cdrom is not None:
        cdrom = disk.cdrom
        cdrom = evolve(
            cdrom,
            bus=cdrom.bus or bus,
            readonly=True if cdrom.readonly is None else cdrom.readonly,
            tray=cdrom.tray or "closed",
        )
        disk = evolve(disk, cdrom=cdrom)
    if disk.block_size is not None:
        disk = evolve(disk, block_size=_members_switched_on(disk.block_size, "match_volume"))
    return disk


def gpu_defaults(gpu: GPU) -> GPU:
    options = gpu.virtual_gpu_options
    if options is None or options.display is None:
        return gpu
    return evolve(gpu, virtual_gpu_options=evolve(options, display=_members_switched_on(options.display, "ram_fb")))


def input_defaults(device: Input) -> Input:
    return evolve(device, bus=device.bus or "usb", type=device.type or "tablet")


def watchdog_defaults(watchdog: Watchdog | None, architecture: str) -> Watchdog | None:
    if watchdog is None:
        return None
    match architecture:
        case "amd64":
            device = watchdog.i6300esb or I6300ESBWatchdog()
            return evolve(watchdog, i6300esb=evolve(device, action=device.action or "reset"))
        case "s390x":
            other = watchdog.diag288 or Diag288Watchdog()
            return evolve(watchdog, diag288=evolve(other, action=other.action or "reset"))
        case _:
            return watchdog


def _switched_on(feature: Any) -> Any:
    """A feature that is mentioned without a flag is on."""
    if feature is None or feature.enabled is not None:
        return feature
    return evolve(feature, enabled=True)


def _members_switched_on(holder: Any, *members: str) -> Any:
    """The same for features within another."""
    if holder is None:
        return None
    return evolve(holder, **{name: _switched_on(getattr(holder, name)) for name in members})


def feature_defaults(features: Features, architecture: str) -> Features:
    acpi = features.acpi or FeatureState()
    if architecture == "s390x" and acpi.enabled is None:
        acpi = FeatureState(enabled=False)
    return evolve(
        features,
        acpi=_switched_on(acpi),
        apic=_switched_on(features.apic),
        smm=_switched_on(features.smm),
        pvspinlock=_switched_on(features.pvspinlock),
        hyperv_passthrough=_switched_on(features.hyperv_passthrough),
        hyperv=hyperv_defaults(features.hyperv),
    )


def hyperv_defaults(hyperv: FeatureHyperv | None) -> FeatureHyperv | None:
    if hyperv is None:
        return None
    changes = {name: _switched_on(getattr(hyperv, name)) for name in hyperv.__struct_fields__}
    changes["synictimer"] = _members_switched_on(changes["synictimer"], "direct")
    changes["tlbflush"] = _members_switched_on(changes["tlbflush"], "direct", "extended")
    spinlocks = changes["spinlocks"]
    if spinlocks is not None and spinlocks.enabled and spinlocks.spinlocks is None:
        changes["spinlocks"] = evolve(spinlocks, spinlocks=SPINLOCK_RETRIES)
    return msgspec.structs.replace(hyperv, **changes)


def clock_defaults(clock: Clock | None) -> Clock | None:
    if clock is None or clock.timer is None:
        return clock
    changes = {}
    for name in clock.timer.__struct_fields__:
        timer = getattr(clock.timer, name)
        if timer is not None and timer.present is None:
            changes[name] = evolve(timer, present=True)
    return evolve(clock, timer=msgspec.structs.replace(clock.timer, **changes))


def probe_defaults(probe: Probe | None) -> Probe | None:
    if probe is None:
        return None
    return evolve(
        probe,
        timeout_seconds=probe.timeout_seconds or 1,
        period_seconds=probe.period_seconds or 10,
        success_threshold=probe.success_threshold or 1,
        failure_threshold=probe.failure_threshold or 3,
    )

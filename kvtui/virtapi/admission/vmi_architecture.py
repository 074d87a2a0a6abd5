"""What each architecture's machines do not have. Only instances are held to it.

Source: control plane facts 5.3 (rows per architecture).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, not_supported

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause

    Spec = VirtualMachineInstanceSpec

VIDEO_MODELS = {
    "amd64": ("vga", "cirrus", "virtio", "ramfb", "bochs"),
    "arm64": ("virtio", "ramfb"),
    "s390x": ("virtio",),
}


def validate_architecture(spec: Spec, field: Path) -> list[Cause]:
    match spec.architecture:
        case "amd64":
            return [*_watchdog_amd64(spec, field), *_video(spec, field, "amd64")]
        case "s390x":
            return [*_watchdog_s390x(spec, field), *_video(spec, field, "s390x")]
        case "arm64":
            return [*_arm64(spec, field), *_video(spec, field, "arm64")]
        case other:
            return [invalid(f"unsupported architecture: {other or ''}", field.child("architecture"))]


def _video(spec: Spec, field: Path, architecture: str) -> list[Cause]:
    video = spec.domain.devices.video
    if video is None or video.type in VIDEO_MODELS[architecture]:
        return []
    return [
        not_supported(
            f"video model '{video.type or ''}' is not supported on {architecture} architecture",
            field.child("domain", "devices", "video", "type"),
        )
    ]


def _watchdog_amd64(spec: Spec, field: Path) -> list[Cause]:
    watchdog = spec.domain.devices.watchdog
    if watchdog is None or (watchdog.i6300esb is not None and watchdog.diag288 is None):
        return []
    own = field.child("domain", "devices", "watchdog")
    return [not_supported("amd64 only supports I6300ESB watchdog device", own)]


def _watchdog_s390x(spec: Spec, field: Path) -> list[Cause]:
    watchdog = spec.domain.devices.watchdog
    if watchdog is None or (watchdog.diag288 is not None and watchdog.i6300esb is None):
        return []
    own = field.child("domain", "devices", "watchdog")
    return [not_supported("s390x only supports Diag288 watchdog device", own)]


def _arm64(spec: Spec, field: Path) -> list[Cause]:
    found: list[Cause] = []
    domain = field.child("domain")
    loader = spec.domain.firmware.bootloader if spec.domain.firmware else None
    if loader is not None and loader.bios is not None:
        found.append(
            not_supported(
                "Arm64 does not support bios boot, please change to uefi boot",
                domain.child("firmware", "bootloader", "bios"),
            )
        )
    if loader is not None and loader.efi is not None and loader.efi.secure_boot is not False:
        found.append(
            not_supported(
                "UEFI secure boot is currently not supported on aarch64 Arch",
                domain.child("firmware", "bootloader", "efi", "secureboot"),
            )
        )
    model = spec.domain.cpu.model if spec.domain.cpu else None
    if model and model != "host-passthrough":
        found.append(
            not_supported(
                "currently, host-passthrough is the only model supported on Arm64", domain.child("cpu", "model")
            )
        )
    devices = domain.child("devices")
    for position, disk in enumerate(spec.domain.devices.disks):
        for name, target in (("disk", disk.disk), ("cdrom", disk.cdrom), ("lun", disk.lun)):
            if target is not None and (target.bus or "") not in ("", "virtio", "scsi"):
                found.append(
                    not_supported(
                        "Arm64 not support this disk bus type, please use virtio or scsi",
                        devices.child("disks").item(position).child(name, "bus"),
                    )
                )
    if spec.domain.devices.watchdog is not None:
        found.append(not_supported("Arm64 not support Watchdog device", devices.child("watchdog")))
    if spec.domain.devices.sound is not None:
        found.append(not_supported("Arm64 not support sound device", devices.child("sound")))
    return found

"""Firmware of a VMI: boot loader, kernel boot, ACPI tables, serial number, secure boot.

Source: control plane facts 5.3 (domain.firmware, acpi).
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, required

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import DomainSpec, Firmware, KernelBoot
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, Volume
    from kvtui.errors import Cause

LONGEST_SERIAL = 256
SERIAL = re.compile(r"[A-Za-z0-9_.+-]+", re.ASCII)


def has_secure_boot(firmware: Firmware | None) -> bool:
    """UEFI boots securely unless told not to."""
    loader = firmware.bootloader if firmware else None
    return loader is not None and loader.efi is not None and loader.efi.secure_boot is not False


def has_smm(domain: DomainSpec) -> bool:
    features = domain.features
    return features is not None and features.smm is not None and features.smm.enabled is not False


def validate_firmware_serial(spec: VirtualMachineInstanceSpec, field: Path) -> list[Cause]:
    serial = spec.domain.firmware.serial if spec.domain.firmware else None
    if not serial:
        return []
    own, found = field.child("domain", "firmware", "serial"), []
    if len(serial.encode()) > LONGEST_SERIAL:
        found.append(invalid(f"{own} must be less than or equal to {LONGEST_SERIAL} in length, if specified", own))
    if not SERIAL.fullmatch(serial):
        found.append(invalid(f"{own} must be made up of the following characters [A-Za-z0-9_.+-], if specified", own))
    return found


def validate_acpi(spec: VirtualMachineInstanceSpec, field: Path) -> list[Cause]:
    """Tables come from Secret volumes; upstream leaves "domain.firmware" out of the path."""
    acpi = spec.domain.firmware.acpi if spec.domain.firmware else None
    if acpi is None:
        return []
    own = field.child("acpi")
    if not acpi.slic_name_ref and not acpi.msdm_name_ref:
        return [invalid("ACPI was set but no SLIC nor MSDM volume reference was set", own)]
    volumes = {volume.name: volume for volume in reversed(spec.volumes)}
    return [
        *_acpi_table(acpi.slic_name_ref, volumes, own, "slicNameRef"),
        *_acpi_table(acpi.msdm_name_ref, volumes, own, "msdmNameRef"),
    ]


def _acpi_table(name: str | None, volumes: dict[str, Volume], own: Path, member: str) -> list[Cause]:
    if not name:
        return []
    volume = volumes.get(name)
    if volume is None:
        return [invalid(f"{own} does not have a matching Volume.", own.child(member))]
    if volume.secret is None:
        return [invalid(f"{own} refers to Volume of unsupported type.", own.child(member))]
    return []


def validate_secure_boot(domain: DomainSpec, field: Path) -> list[Cause]:
    """Secure boot needs SMM; `field` is the domain's."""
    if not has_secure_boot(domain.firmware) or has_smm(domain):
        return []
    message = f"{field} has EFI SecureBoot enabled. SecureBoot requires SMM, which is currently disabled."
    return [invalid(message, field)]


def validate_firmware(domain: DomainSpec, field: Path) -> list[Cause]:
    """Boot loader and kernel boot; `field` is the domain's."""
    found: list[Cause] = []
    firmware = domain.firmware
    if firmware is not None:
        loader = firmware.bootloader
        if loader is not None and loader.efi is not None and loader.bios is not None:
            own = field.child("firmware", "bootloader")
            found.append(invalid(f"{own} has both EFI and BIOS configured, but they are mutually exclusive.", own))
        if firmware.kernel_boot is not None:
            found += _kernel_boot(firmware.kernel_boot, field.child("firmware", "kernelBoot"))
    return found


def _kernel_boot(boot: KernelBoot, field: Path) -> list[Cause]:
    if boot.container is None:
        if boot.kernel_args:
            return [
                invalid("kernel arguments cannot be provided without an external kernel", field.child("kernelArgs"))
            ]
        return []
    container, own, found = boot.container, field.child("container"), []
    if not container.image:
        found.append(required(f"{own} must be defined with an image", own.child("image")))
    if not container.kernel_path and not container.initrd_path:
        found.append(required(f"{own} must be defined with at least one of the following: kernelPath, initrdPath", own))
    if container.kernel_path:
        found += validate_path(container.kernel_path, own.child("kernelPath"))
    if container.initrd_path:
        found += validate_path(container.initrd_path, own.child("initrdPath"))
    return found


def validate_path(path: str, field: Path) -> list[Cause]:
    """An absolute path to a file, without "..", "." or doubled slashes."""
    if path == "/":
        return [invalid(f"{field} must not point to root", field)]
    if "/" + posixpath.normpath("/" + path).lstrip("/") != path.removesuffix("/"):
        return [invalid(f"{field} must be an absolute path to a file without relative components", field)]
    return []

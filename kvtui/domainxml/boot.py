"""What the guest boots: machine, firmware, direct kernel, ACPI tables -> <os>.

Source: https://libvirt.org/formatdomain.html#operating-system-booting
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, element, group
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.firmware import Demand, choose_loader, upstream_firmware
from kvtui.domainxml.paths import component, last_component

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

BOOT_MENU_MILLISECONDS = 10_000
_FIRMWARE = "spec.domain.firmware"


def build(guest: Guest) -> list[Element]:
    machine = guest.domain.machine
    parts = [element("type", "hvm", arch=guest.traits.libvirt, machine=(machine.type or None) if machine else None)]
    parts += _acpi(guest)
    if guest.traits.smbios:
        parts.append(element("smbios", mode="sysinfo"))
    attributes: dict[str, str | int | None] = {}
    if guest.efi:
        if _auto_selected(guest):
            attributes["firmware"] = "efi"
            parts += _selected_firmware(guest)
        else:
            parts += _loader(guest)
    parts += _bios(guest)
    parts += _kernel(guest)
    if guest.spec.start_strategy == "Paused":
        parts.append(element("bootmenu", enable="yes", timeout=BOOT_MENU_MILLISECONDS))
    return [group("os", parts, **attributes)]


def _demand(guest: Guest) -> Demand:
    assert guest.firmware is not None
    assert guest.firmware.bootloader is not None
    efi = guest.firmware.bootloader.efi
    assert efi is not None
    return Demand(
        secure_boot=efi.secure_boot is not False, sev=guest.sev and not guest.snp, snp=guest.snp, tdx=guest.tdx
    )


def _auto_selected(guest: Guest) -> bool:
    """libvirt picks the image by features: only for secure boot, and not for confidential guests."""
    demand = _demand(guest)
    confidential = demand.sev or demand.snp or demand.tdx
    return guest.context.gate("FirmwareAutoSelection") and demand.secure_boot and not confidential


def _selected_firmware(guest: Guest) -> list[Element]:
    features = [element("feature", enabled="yes", name=name) for name in ("secure-boot", "enrolled-keys")]
    parts = [group("firmware", features)]
    if guest.arch is not Arch.ARM64:  # there libvirt keeps the variables in a store of its own
        parts.append(element("nvram", guest.paths.nvram(), format="raw"))
    return parts


def _loader(guest: Guest) -> list[Element]:
    firmware = guest.context.firmware or upstream_firmware(guest.arch)
    loader = choose_loader(firmware, _demand(guest))
    kind = "pflash" if loader.variables else "rom"
    secure = "yes" if loader.secure else "no"
    parts = [element("loader", loader.code, readonly="yes", secure=secure, type=kind)]
    if loader.variables:
        parts.append(element("nvram", guest.paths.nvram(), template=loader.variables))
    return parts


def _bios(guest: Guest) -> list[Element]:
    bootloader = guest.firmware.bootloader if guest.firmware else None
    if bootloader and bootloader.bios and bootloader.bios.use_serial:
        return [element("bios", useserial="yes")]
    return []


def _kernel(guest: Guest) -> list[Element]:
    boot = guest.firmware.kernel_boot if guest.firmware else None
    if boot is None:
        return []
    parts, field = [], f"{_FIRMWARE}.kernelBoot.container"
    container = boot.container
    if container and container.kernel_path:
        kernel = last_component(container.kernel_path, f"{field}.kernelPath")
        parts.append(element("kernel", guest.paths.kernel_artifact(kernel)))
    if container and container.initrd_path:
        initrd = last_component(container.initrd_path, f"{field}.initrdPath")
        parts.append(element("initrd", guest.paths.kernel_artifact(initrd)))
    if boot.kernel_args:
        parts.append(element("cmdline", boot.kernel_args))
    return parts


def _acpi(guest: Guest) -> list[Element]:
    acpi, field = guest.firmware.acpi if guest.firmware else None, f"{_FIRMWARE}.acpi"
    if acpi is None:
        return []
    wanted = {"slic": acpi.slic_name_ref, "msdm": acpi.msdm_name_ref}
    if not any(wanted.values()):
        raise ConversionError("No ACPI tables were set. Expecting at least one.", field=field)
    return [group("acpi", [_table(guest, kind, name, field) for kind, name in wanted.items() if name])]


def _table(guest: Guest, kind: str, name: str, field: str) -> Element:
    if name not in guest.volumes:
        raise ConversionError(f"Firmware's volume for {kind} was not found", field=field)
    if guest.volumes[name][1].secret is None:
        raise ConversionError(f"Firmware's volume type is unsupported for {kind}", field=field)
    return element("table", guest.paths.acpi_table(component(name, field), f"{kind}.bin"), type=kind)

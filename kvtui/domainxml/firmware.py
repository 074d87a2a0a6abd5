"""Which UEFI images there are, and which one a guest gets.

An inventory maps roles to files: images with and without secure boot, variables with and without enrolled keys,
and the stateless images of confidential guests. `inventory()` fills it from the files a node has.

Source: KubeVirt's EFI environment; https://libvirt.org/formatdomain.html#bios-bootloader
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Collection

_FIELD = "spec.domain.firmware.bootloader.efi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """UEFI images by role, as paths; an empty one is not installed."""

    code: str = ""
    variables: str = ""
    secure_code: str = ""
    secure_variables: str = ""
    """Variables with enrolled keys."""
    sev_code: str = ""
    snp_code: str = ""
    tdx_code: str = ""
    tdx_secure_code: str = ""


@dataclass(frozen=True, slots=True)
class Loader:
    """The image that a guest boots and the template of its variables; a stateless image has none."""

    code: str
    variables: str
    secure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the guest's spec asks of its firmware."""

    secure_boot: bool
    sev: bool = False
    snp: bool = False
    tdx: bool = False


def upstream_firmware(arch: Arch, directory: str = "") -> Firmware:
    """The images of upstream's launcher, all present."""
    if arch is Arch.ARM64:
        base = directory or "/usr/share/AAVMF"
        return Firmware(code=f"{base}/AAVMF_CODE.fd", variables=f"{base}/AAVMF_VARS.fd")
    base = directory or "/usr/share/edk2/ovmf"
    return Firmware(
        code=f"{base}/OVMF_CODE.secboot.fd",
        variables=f"{base}/OVMF_VARS.fd",
        secure_code=f"{base}/OVMF_CODE.secboot.fd",
        secure_variables=f"{base}/OVMF_VARS.secboot.fd",
        sev_code=f"{base}/OVMF_CODE.cc.fd",
        snp_code=f"{base}/OVMF.amdsev.fd",
        tdx_code=f"{base}/OVMF.inteltdx.fd",
        tdx_secure_code=f"{base}/OVMF.inteltdx.secboot.fd",
    )


# Pairs in order of preference. Debian's 4 MiB images come first, since its 2 MiB ones are too small for Windows.
_PLAIN = (
    ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"),
    ("OVMF_CODE.fd", "OVMF_VARS.fd"),
)
_SECURE = (
    ("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"),
    ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
    ("OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"),
    ("OVMF_CODE.ms.fd", "OVMF_VARS.ms.fd"),
    ("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
)
_ARM = (("AAVMF_CODE.no-secboot.fd", "AAVMF_VARS.fd"), ("AAVMF_CODE.fd", "AAVMF_VARS.fd"))
FIRMWARE_DIRECTORIES = ("/usr/share/OVMF", "/usr/share/edk2/ovmf", "/usr/share/AAVMF")
"""Where distributions put UEFI images; a node lists them and hands the files to `inventory`."""


def inventory(arch: Arch, files: Collection[str]) -> Firmware:
    """The images among these absolute paths."""
    by_name = {path.rpartition("/")[2]: path for path in sorted(files)}
    code, variables = _first_pair(by_name, _ARM if arch is Arch.ARM64 else _PLAIN)
    if arch is Arch.ARM64:
        return Firmware(code=code, variables=variables)
    secure_code, secure_variables = _first_pair(by_name, _SECURE)
    return Firmware(
        code=code,
        variables=variables,
        secure_code=secure_code,
        secure_variables=secure_variables,
        sev_code=by_name.get("OVMF_CODE.cc.fd", ""),
        snp_code=by_name.get("OVMF.amdsev.fd", ""),
        tdx_code=by_name.get("OVMF.inteltdx.fd", ""),
        tdx_secure_code=by_name.get("OVMF.inteltdx.secboot.fd", ""),
    )


def _first_pair(by_name: dict[str, str], pairs: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    for code, variables in pairs:
        if code in by_name and variables in by_name:
            return by_name[code], by_name[variables]
    return "", ""


def choose_loader(firmware: Firmware, demand: Demand) -> Loader:
    """The images for a UEFI guest. Raises ConversionError when they are not installed."""
    if demand.snp:
        loader, stateless = Loader(firmware.snp_code, "", secure=False), True
    elif demand.tdx:
        code = firmware.tdx_secure_code if demand.secure_boot else firmware.tdx_code
        loader, stateless = Loader(code, "", secure=False), True
    elif demand.secure_boot:
        loader, stateless = Loader(firmware.secure_code, firmware.secure_variables, secure=True), False
    elif demand.sev:
        loader, stateless = Loader(firmware.sev_code, firmware.variables, secure=False), False
    else:
        loader, stateless = Loader(firmware.code, firmware.variables, secure=False), False
    if not loader.code or not (loader.variables or stateless):
        raise ConversionError(
            "EFI OVMF roms missing for booting in EFI mode with "
            f"SecureBoot={_word(demand.secure_boot)}, SEV/SEV-ES={_word(demand.sev)}, "
            f"SEV-SNP={_word(demand.snp)}, TDX={_word(demand.tdx)}",
            field=_FIELD,
        )
    return loader


def _word(value: bool) -> str:
    return "true" if value else "false"

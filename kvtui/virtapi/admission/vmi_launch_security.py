"""Memory encryption of guests: which kinds there are, what they need and what they exclude.

Source: control plane facts 5.3 (launchSecurity; upstream's field leaves "domain" out).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, forbidden, invalid
from kvtui.virtapi.admission.vmi_firmware import has_smm

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import LaunchSecurity
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.config import ClusterConfig

    Spec = VirtualMachineInstanceSpec

GATES = {"SEV": "WorkloadEncryptionSEV", "SNP": "WorkloadEncryptionSEV", "TDX": "WorkloadEncryptionTDX"}


def validate_launch_security(spec: Spec, field: Path, config: ClusterConfig) -> list[Cause]:
    security = spec.domain.launch_security
    if security is None:
        return []
    own = field.child("launchSecurity")
    match spec.architecture:
        case "amd64":
            return _amd64(spec, security, own, config)
        case "s390x":
            return []  # Secure Execution: any launchSecurity asks for it, and its gate is always on
        case other:  # templates that get no defaults may name none
            return [invalid(f"No launchSecurity support for architecture: {other or ''}", field.child("architecture"))]


def _amd64(spec: Spec, security: LaunchSecurity, own: Path, config: ClusterConfig) -> list[Cause]:
    chosen = [name for name in GATES if getattr(security, name.lower()) is not None]
    if len(chosen) != 1:
        return [forbidden("One and only one launchSecurity type can be set", own)]
    kind = chosen[0]
    if not config.gate(GATES[kind]):
        return [invalid(f"{GATES[kind]} feature gate is not enabled in kubevirt-config", own)]
    found: list[Cause] = []
    if kind == "TDX" and has_smm(spec.domain):
        found.append(invalid("TDX does not work along with SMM", own))
    loader = spec.domain.firmware.bootloader if spec.domain.firmware else None
    efi = loader.efi if loader else None
    if efi is None:
        found.append(invalid(f"{kind} requires OVMF (UEFI)", own))
    else:
        if kind in ("SEV", "SNP") and efi.secure_boot is not False:
            found.append(invalid(f"{kind} does not work along with SecureBoot", own))
        if kind in ("SNP", "TDX") and efi.persistent:
            found.append(invalid(f"{kind} does not work along with Persistent EFI variables", own))
    if security.sev is not None and security.sev.attestation is not None and spec.start_strategy != "Paused":
        found.append(invalid("SEV attestation requires VMI StartStrategy 'Paused'", own))
    return found + _bootable_interfaces(spec, kind, own)


def _bootable_interfaces(spec: Spec, kind: str, own: Path) -> list[Cause]:
    return [
        invalid(f"{kind} does not work with bootable NICs: {interface.name}", own)
        for interface in spec.domain.devices.interfaces
        if interface.boot_order is not None
    ]

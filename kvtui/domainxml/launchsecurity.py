"""Confidential guests: spec.domain.launchSecurity -> <launchSecurity>.

On s390x secure execution needs no element: its devices only have to go through the IOMMU.

Source: https://libvirt.org/formatdomain.html#launch-security; AMD SEV API, guest policy bits
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.architecture import Arch
from kvtui.domainxml.elements import Element, element, group

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import SEV
    from kvtui.domainxml.guest import Guest

SEV_NO_DEBUG = 1 << 0
SEV_ENCRYPTED_STATE = 1 << 2
SNP_SMT_ALLOWED = 1 << 16
SNP_RESERVED = 1 << 17
"""Must be one, says the API."""
QUOTE_SOCKET = "kubevirt.io/qgs-socket-path"


def build(guest: Guest) -> list[Element]:
    security = guest.domain.launch_security
    if security is None or guest.arch is not Arch.AMD64:
        return []
    if security.sev is not None:
        return [_sev(security.sev)]
    if security.snp is not None:
        return [group("launchSecurity", [_policy(SNP_SMT_ALLOWED | SNP_RESERVED)], type="sev-snp")]
    if security.tdx is not None:
        socket = guest.annotation(QUOTE_SOCKET)
        quotes = [element("quoteGenerationService", path=socket)] if socket else []
        return [group("launchSecurity", quotes, type="tdx")]
    return []


def _sev(sev: SEV) -> Element:
    encrypted = bool(sev.policy and sev.policy.encrypted_state)
    parts = [_policy(SEV_NO_DEBUG | (SEV_ENCRYPTED_STATE if encrypted else 0))]
    if sev.dh_cert:
        parts.append(element("dhCert", sev.dh_cert))
    if sev.session:
        parts.append(element("session", sev.session))
    return group("launchSecurity", parts, type="sev")


def _policy(bits: int) -> Element:
    return element("policy", f"{bits:#x}")


def iommu_driver(guest: Guest) -> list[Element]:
    """<driver iommu="on"> for a virtio device of a guest whose memory the host cannot read."""
    return [element("driver", iommu="on")] if guest.iommu else []

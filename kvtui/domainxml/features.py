"""Hypervisor features: spec.domain.features -> <features>.

Source: https://libvirt.org/formatdomain.html#hypervisor-features
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element, group, on_off, state

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import FeatureHyperv, Features
    from kvtui.domainxml.guest import Guest


def build(guest: Guest) -> list[Element]:
    features = guest.features
    parts = _asked_for(features) if features else []
    parts += _kvm(guest)
    if guest.tdx or (guest.realtime and guest.dedicated_cpus):
        parts.append(element("pmu", state="off"))
    if features and guest.traits.vmport:
        parts.append(element("vmport", state="off"))
    return [group("features", parts)]


def _asked_for(features: Features) -> list[Element]:
    parts = []
    if features.acpi is None or features.acpi.enabled is not False:
        parts.append(element("acpi"))
    if features.apic is not None and features.apic.enabled is not False:
        parts.append(element("apic"))
    if features.smm is not None and features.smm.enabled is not False:
        parts.append(element("smm"))
    if features.hyperv is not None:
        parts.append(group("hyperv", _hyperv(features.hyperv)))
    elif features.hyperv_passthrough is not None and features.hyperv_passthrough.enabled is not False:
        parts.append(element("hyperv", mode="passthrough"))
    if features.pvspinlock is not None:
        parts.append(state("pvspinlock", features.pvspinlock.enabled))
    return parts


def _kvm(guest: Guest) -> list[Element]:
    kvm = guest.features.kvm if guest.features else None
    parts = []
    if kvm is not None:
        parts.append(element("hidden", state=on_off(kvm.hidden, default=False)))
    if guest.dedicated_cpus and guest.traits.hint_dedicated:
        parts.append(element("hint-dedicated", state="on"))
    return [group("kvm", parts)] if parts else []


def _hyperv(hyperv: FeatureHyperv) -> list[Element]:
    parts = []
    plain = {
        "relaxed": hyperv.relaxed,
        "vapic": hyperv.vapic,
        "vpindex": hyperv.vpindex,
        "runtime": hyperv.runtime,
        "synic": hyperv.synic,
        "reset": hyperv.reset,
        "frequencies": hyperv.frequencies,
        "reenlightenment": hyperv.reenlightenment,
        "ipi": hyperv.ipi,
        "evmcs": hyperv.evmcs,
    }
    parts += [state(tag, feature.enabled) for tag, feature in plain.items() if feature is not None]
    if spinlocks := hyperv.spinlocks:
        parts.append(element("spinlocks", state=on_off(spinlocks.enabled), retries=spinlocks.spinlocks))
    if timer := hyperv.synictimer:
        direct = [state("direct", timer.direct.enabled)] if timer.direct else []
        parts.append(state("stimer", timer.enabled, *direct))
    if vendor := hyperv.vendorid:
        parts.append(element("vendor_id", state=on_off(vendor.enabled), value=vendor.vendorid or None))
    if flush := hyperv.tlbflush:
        finer = {"direct": flush.direct, "extended": flush.extended}
        below = [state(tag, feature.enabled) for tag, feature in finer.items() if feature is not None]
        parts.append(state("tlbflush", flush.enabled, *below))
    return parts

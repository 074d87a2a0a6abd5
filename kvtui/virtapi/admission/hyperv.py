"""Hyper-V enlightenments that need others: switched on where nobody said otherwise, refused where somebody did.

Source: control plane facts 3.2 step 15 and 5.3 (fields with the doubled path are upstream's).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kvtui.api.kubevirt.domain import CPU, CPUFeature, FeatureHyperv, FeatureState
from kvtui.api.wire import evolve
from kvtui.virtapi.admission.causes import Path, invalid, required

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause

    Spec = VirtualMachineInstanceSpec

VMX = "vmx"


class Need(NamedTuple):
    feature: str
    requires: str


NEEDS = (
    Need("evmcs", "vapic"),
    Need("ipi", "vpindex"),
    Need("tlbflush", "vpindex"),
    Need("synictimer", "synic"),
    Need("synic", "vpindex"),
)
"""Leaves first, so that what one switches on is seen by the next."""


def _enabled(hyperv: FeatureHyperv, name: str) -> bool | None:
    feature = getattr(hyperv, name)
    return None if feature is None else bool(feature.enabled) if feature.enabled is not None else None


def dependency_defaults(spec: Spec) -> Spec:
    """Switches on what is needed. Stops at the first need that was explicitly switched off."""
    features = spec.domain.features
    if features is None or features.hyperv is None:
        return spec
    hyperv = features.hyperv
    for need in NEEDS:
        if not _enabled(hyperv, need.feature):
            continue
        match _enabled(hyperv, need.requires):
            case None:
                old = getattr(hyperv, need.requires) or FeatureState()
                hyperv = evolve(hyperv, **{need.requires: evolve(old, enabled=True)})
            case False:
                return _with(spec, hyperv)
    spec = _with(spec, hyperv)
    return _with_vmx(spec) if hyperv.evmcs is not None and hyperv.evmcs.enabled is not False else spec


def _with(spec: Spec, hyperv: FeatureHyperv) -> Spec:
    features = spec.domain.features
    if features is None:
        return spec
    return evolve(spec, domain=evolve(spec.domain, features=evolve(features, hyperv=hyperv)))


def _with_vmx(spec: Spec) -> Spec:
    """evmcs needs nested virtualisation in the guest's CPU."""
    cpu = spec.domain.cpu or CPU()
    wanted = CPUFeature(name=VMX, policy="require")
    if any(feature.name == VMX for feature in cpu.features):
        features = [wanted if feature.name == VMX else feature for feature in cpu.features]
    else:
        features = [*cpu.features, wanted]
    return evolve(spec, domain=evolve(spec.domain, cpu=evolve(cpu, features=features)))


def validate_hyperv(spec: Spec, field: Path) -> list[Cause]:
    """`field` is the path of the hyperv features; upstream then repeats the way to them."""
    features = spec.domain.features
    if features is None or features.hyperv is None:
        return []
    hyperv, found = features.hyperv, []
    doubled = field.child("domain", "features", "hyperv")
    for need in NEEDS:
        if _enabled(hyperv, need.feature) and not _enabled(hyperv, need.requires):
            own, other = doubled.child(need.feature), doubled.child(need.requires)
            found.append(invalid(f"'{own}' requires '{other}', which was disabled.", own))
    if hyperv.evmcs is not None and hyperv.evmcs.enabled is not False:
        found += _nested(spec.domain.cpu or CPU())
    if features.hyperv_passthrough is not None:
        message = (
            "Cannot explicitly set hyperV features if HypervPassthrough is being used. "
            "Please use either HyperV or HypervPassthrough."
        )
        found.append(invalid(message, field))
    return found


def _nested(cpu: CPU) -> list[Cause]:
    """What evmcs asks of the guest's CPU."""
    found = []
    if not cpu.features:
        found.append(required(f"{VMX} cpu feature is required when evmcs is set", "spec.domain.cpu.features"))
    for position, feature in enumerate(cpu.features):
        if feature.name == VMX and feature.policy != "require":
            found.append(
                invalid(
                    f"{VMX} cpu feature has to be set to require policy", f"spec.domain.cpu.features[{position}].policy"
                )
            )
    return found

"""An emulated guest: what QEMU or libvirt refuses without KVM is taken out or replaced.

Seen with QEMU 7.2 and libvirt 9.0: every Hyper-V enlightenment but the virtual processor index is accepted, though
none of them shows before KVM works. Nothing changes for guests under KVM.

Source: https://www.qemu.org/docs/master/system/i386/hyperv.html; https://libvirt.org/formatdomain.html#cpu-model-and-topology
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, drop

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED_ENLIGHTENMENTS = ("vpindex",)
"""QEMU: "kernel doesn't allow setting HyperV VP_INDEX"."""
REFUSED_CPU_FEATURES = frozenset({"invtsc", "vmx"})
"""An invariant TSC and Intel's nesting need the host's."""


def is_emulated(domain: Element) -> bool:
    return domain.get("type") == "qemu"


def adapt(domain: Element, *, host_model: bool) -> None:
    """Makes an emulated domain one that starts, in place."""
    if not is_emulated(domain):
        return
    _cpu(domain, host_model=host_model)
    _features(domain)
    clock = domain.find("clock")
    if clock is not None:
        for timer in clock.findall("timer"):
            if timer.get("name") == "tsc":
                clock.remove(timer)
        if not clock.attrib and not len(clock):
            domain.remove(clock)


def _cpu(domain: Element, *, host_model: bool) -> None:
    cpu = domain.find("cpu")
    if cpu is None:
        return
    mode = cpu.get("mode")
    if mode == "host-passthrough" or (mode == "host-model" and not host_model):
        cpu.set("mode", "maximum")
    for feature in cpu.findall("feature"):
        if feature.get("name") in REFUSED_CPU_FEATURES and feature.get("policy") in (None, "require", "force"):
            cpu.remove(feature)


def _features(domain: Element) -> None:
    features = domain.find("features")
    if features is None:
        return
    for lock in features.findall("pvspinlock"):
        if lock.get("state") != "off":
            features.remove(lock)
    _thin_out(features, "hyperv", REFUSED_ENLIGHTENMENTS)
    _thin_out(features, "kvm", ("hint-dedicated",))


def _thin_out(features: Element, tag: str, refused: Iterable[str]) -> None:
    found = features.find(tag)
    if found is None or found.get("mode") is not None:
        return
    for name in refused:
        drop(found, name)
    if not len(found):
        features.remove(found)

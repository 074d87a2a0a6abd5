"""An emulated guest: what QEMU or libvirt refuses without KVM is taken out or replaced.

Seen with QEMU 7.2 and libvirt 9.0: most Hyper-V enlightenments are accepted, those that need the virtual processor
index are not. Nothing changes for guests under KVM.

Source: https://www.qemu.org/docs/master/system/i386/hyperv.html; https://libvirt.org/formatdomain.html#cpu-model-and-topology
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, drop

if TYPE_CHECKING:
    from collections.abc import Iterable

REFUSED_ENLIGHTENMENTS = ("vpindex", "synic", "stimer", "tlbflush", "ipi", "evmcs")
"""The virtual processor index, all that depends on it, and nesting."""


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


def _features(domain: Element) -> None:
    features = domain.find("features")
    if features is None:
        return
    drop(features, "pvspinlock")
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

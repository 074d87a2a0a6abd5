"""On which CPUs the threads of a running QEMU may run: as its description tells, as it should be, and the steps. Pure.

vCPUs that are not plugged cannot be pinned; they are seen again once they are.

Source: https://libvirt.org/formatdomain.html#cpu-tuning
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from kvtui.node import cpusets

Cpus = frozenset[int]


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of QEMU, or the rest of them."""

    kind: str
    """vcpu, iothread or emulator."""
    number: int = 0


EMULATOR = Thread("emulator")
"""QEMU's main thread and its helpers."""


@dataclass(frozen=True, slots=True)
class Pins:
    """CPUs by thread. `common` is for those that are not listed; empty is anywhere."""

    common: Cpus = frozenset()
    threads: dict[Thread, Cpus] = field(default_factory=dict)

    def of(self, thread: Thread) -> Cpus:
        return self.threads.get(thread, self.common)


def read(domain: Element) -> Pins:
    """The pins that a description has."""
    vcpu, tuning = domain.find("vcpu"), domain.find("cputune")
    common = cpusets.parse(vcpu.get("cpuset", "")) if vcpu is not None else frozenset()
    found = {}
    for pin in tuning if tuning is not None else ():
        kind = pin.tag.removesuffix("pin")
        if pin.tag in ("vcpupin", "iothreadpin", "emulatorpin"):
            found[Thread(kind, int(pin.get(kind, "0")))] = cpusets.parse(pin.get("cpuset", ""))
    return Pins(common, found)


def wanted(own: Pins | None, given: Set[int], shared: Set[int]) -> Pins:
    """`own` are the pins of a guest with CPUs of its own, `given` these CPUs; all others use the `shared` ones."""
    return Pins(frozenset(shared)) if own is None else replace(own, common=frozenset(given))


def threads(domain: Element) -> list[Thread]:
    """Those of a running domain that can be pinned."""
    vcpu = domain.find("vcpu")
    most = int((vcpu.text if vcpu is not None else None) or "1")
    listed = domain.findall("vcpus/vcpu")
    if listed:
        present = [int(v.get("id", "0")) for v in listed if v.get("enabled") == "yes"]
    else:
        present = list(range(int(vcpu.get("current") or most) if vcpu is not None else most))
    found = [Thread("vcpu", number) for number in present]
    ids = [int(t.get("id", "0")) for t in domain.findall("iothreadids/iothread")]
    count = int(domain.findtext("iothreads") or "0")
    found += [Thread("iothread", number) for number in ids or range(1, count + 1)]
    return [*found, EMULATOR]


def steps(domain: Element, target: Pins, everywhere: Set[int]) -> list[tuple[Thread, Cpus]]:
    """What has to be pinned anew in a running domain. `everywhere` are all CPUs of the node."""
    now, whole = read(domain), frozenset(everywhere)
    return [
        (thread, target.of(thread) or whole)
        for thread in threads(domain)
        if (now.of(thread) or whole) != (target.of(thread) or whole)
    ]

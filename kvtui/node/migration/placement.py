"""CPUs of a guest that moves: what the target has for it, and its description made to fit. Pure.

Source: kubevirt pkg/virt-handler/migration-target.go (targetCPUSet, targetNodeTopology);
https://libvirt.org/formatdomain.html#cpu-tuning
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from kvtui.api.wire import Wire
from kvtui.domainxml import HostCell
from kvtui.node.observe import parse

PINS = ("vcpupin", "emulatorpin", "iothreadpin")


class TargetCpus(Wire, frozen=True):
    """CPUs for a guest on its target."""

    allowed: str = ""
    """List of those for all that is not pinned; empty is anywhere."""
    tuning: str = ""
    """<cputune> with the pins; empty pins nothing."""
    memory: str = ""
    """<numatune>; empty binds to no cells."""


def of_domain(domain: Element) -> TargetCpus:
    """Those of a description that the target has made for itself."""
    vcpu, tuning, memory = domain.find("vcpu"), domain.find("cputune"), domain.find("numatune")
    return TargetCpus(
        allowed=vcpu.get("cpuset", "") if vcpu is not None else "",
        tuning=ElementTree.tostring(tuning, encoding="unicode") if tuning is not None else "",
        memory=ElementTree.tostring(memory, encoding="unicode") if memory is not None else "",
    )


def move(domain: Element, target: TargetCpus) -> None:
    """Replaces the source's pins by the target's, in place; weights and quotas stay."""
    vcpu, tuning = domain.find("vcpu"), domain.find("cputune")
    if vcpu is not None:
        vcpu.attrib.pop("cpuset", None)
        if target.allowed:
            vcpu.set("cpuset", target.allowed)
    if tuning is not None:
        for pin in [p for p in tuning if p.tag in PINS]:
            tuning.remove(pin)
    if target.tuning:
        tuning = SubElement(domain, "cputune") if tuning is None else tuning
        tuning.extend(p for p in parse(target.tuning) if p.tag in PINS)
    if tuning is not None and not len(tuning):
        domain.remove(tuning)
    old = domain.find("numatune")
    if old is not None:
        domain.remove(old)
    if target.memory:
        domain.append(parse(target.memory))


def topology_text(cells: Sequence[HostCell]) -> str:
    """The node's cells as targetNodeTopology has them."""
    found: list[dict[str, Any]] = [
        {
            "id": cell.id,
            "distances": [{"id": other, "value": far} for other, far in cell.distances.items()],
            "cpus": [{"id": thread, "siblings": list(core)} for core in cell.cores for thread in core],
        }
        for cell in cells
    ]
    return json.dumps({"numa_cells": found}, separators=(",", ":"))

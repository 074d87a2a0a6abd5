"""CPUs of a guest that moves: what the target has for it, and its description made to fit. Pure.

Source: kubevirt pkg/virt-handler/migration-target.go (targetCPUSet, targetNodeTopology);
https://libvirt.org/formatdomain.html#cpu-tuning
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kvtui.api.wire import Wire
from kvtui.domainxml import HostCell
from kvtui.node.observe import parse


class TargetCpus(Wire, frozen=True):
    """CPUs for a guest on its target."""

    allowed: str = ""
    """List of those for all that is not pinned; empty is anywhere."""
    tuning: str = ""
    """<cputune>; empty pins nothing."""
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
    """Replaces the source's CPUs by the target's, in place, and drops the limits that the source has set.

    The target sets those of its own launcher; a limit of memory in a description would have libvirt raise what QEMU
    may lock, which not every host allows.
    """
    vcpu = domain.find("vcpu")
    if vcpu is not None:
        vcpu.attrib.pop("cpuset", None)
        if target.allowed:
            vcpu.set("cpuset", target.allowed)
    for name in ("cputune", "numatune", "memtune"):
        old = domain.find(name)
        if old is not None:
            domain.remove(old)
    domain.extend(parse(text) for text in (target.tuning, target.memory) if text)


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

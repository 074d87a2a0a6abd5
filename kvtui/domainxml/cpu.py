"""Processor: spec.domain.cpu -> <vcpu>, <vcpus>, <cpu>.

Source: https://libvirt.org/formatdomain.html#cpu-model-and-topology
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml import numa
from kvtui.domainxml.elements import Element, element, group, yes_no

if TYPE_CHECKING:
    from kvtui.domainxml.guest import Guest

HOST_MODES = frozenset({"host-model", "host-passthrough"})


def build(guest: Guest) -> list[Element]:
    parts = [element("vcpu", guest.maximal_topology.vcpus, placement="static")]
    if guest.sockets_can_grow:
        parts.append(_vcpus(guest))
    parts.append(_cpu(guest))
    return parts


def _vcpus(guest: Guest) -> Element:
    """Which vCPUs are there at boot; the first socket's stay for good."""
    present, fixed = guest.topology.vcpus, guest.topology.cores * guest.topology.threads
    return group(
        "vcpus",
        [
            element("vcpu", id=n, enabled=yes_no(n < present), hotpluggable=yes_no(n >= fixed))
            for n in range(guest.maximal_topology.vcpus)
        ],
    )


def _cpu(guest: Guest) -> Element:
    topology = guest.maximal_topology
    mode, parts = _mode_and_model(guest)
    parts += [
        element("feature", name=f.name, policy=f.policy or None) for f in (guest.cpu.features if guest.cpu else ())
    ]
    if _mpx_is_off(guest):
        parts.append(element("feature", name="mpx", policy="disable"))
    parts.append(element("topology", sockets=topology.sockets, cores=topology.cores, threads=topology.threads))
    return group("cpu", parts + _numa(guest), mode=mode)


def _mode_and_model(guest: Guest) -> tuple[str, list[Element]]:
    model = (guest.cpu.model if guest.cpu else None) or "host-model"
    if model not in HOST_MODES:
        return "custom", [element("model", model)]
    if guest.foreign:  # there is no such host; "max" has all that QEMU can emulate
        return "custom", [element("model", "max")]
    return model, []


def _mpx_is_off(guest: Guest) -> bool:
    """Named models list mpx, which current processors lack, so libvirt would refuse them. So it is with no model."""
    cpu = guest.cpu
    if not guest.traits.mpx or cpu is None or cpu.model in HOST_MODES:
        return False
    return all(feature.name != "mpx" for feature in cpu.features)


def _numa(guest: Guest) -> list[Element]:
    mirrored = guest.pinning.numa if guest.pinning else None
    if mirrored is not None:
        return [numa.cells_xml(mirrored)]
    if not guest.memfd or (guest.cpu and guest.cpu.numa):
        return []
    kib = guest.count(guest.guest_memory, "spec.domain.memory.guest") // 1024
    cpus = f"0-{guest.maximal_topology.vcpus - 1}"
    return [group("numa", [element("cell", id=0, cpus=cpus, memory=kib, unit="KiB")])]

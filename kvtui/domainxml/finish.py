"""What this node defines: a converted domain with identity, attachments, automatic choices and fall-backs.

Each step changes a copy in place and is listed in STEPS; `deviations` says why they differ from upstream.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kvtui.domainxml import attachments, diskpolicy, emulation, metadata, ports, vintage
from kvtui.domainxml.channels import GUEST_AGENT
from kvtui.domainxml.elements import Element, checked, child, element, group, replace
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.names import name_of
from kvtui.domainxml.schema import fit_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvtui.domainxml.placement import Placement

    Step = Callable[[Element, Placement], None]


def finish(domain: Element, placement: Placement) -> Element:
    """The domain to define on this node. Raises ConversionError. With placeholders, see `ports.settle`."""
    finished = copy.deepcopy(domain)
    for step in STEPS:
        step(finished, placement)
    return checked(finished)


def _identify(domain: Element, placement: Placement) -> None:
    owner = placement.ownership
    replace(domain, element("name", f"{owner.namespace}_{owner.name}"))
    uuid = domain.findtext("sysinfo/system/entry[@name='uuid']")
    if not uuid:
        raise ConversionError("the VMI has no firmware UUID", field="spec.domain.firmware.uuid")
    replace(domain, element("uuid", uuid))
    replace(domain, group("metadata", [metadata.to_element(owner)]))


def _attach(domain: Element, placement: Placement) -> None:
    vhost_net = placement.vhost_net and not emulation.is_emulated(domain)
    attachments.attach_all(_devices(domain), placement.interfaces, vhost_net=vhost_net)
    ports.add_placeholders(_devices(domain), placement.placeholders)


def _choose_disk_modes(domain: Element, placement: Placement) -> None:
    for disk in _devices(domain).findall("disk"):
        diskpolicy.apply(disk, placement.disks.get(name_of(disk)))


def _wire_sockets(domain: Element, placement: Placement) -> None:
    devices = _devices(domain)
    if placement.serial_log:
        for serial in devices.findall("serial"):
            replace(serial, element("log", file=placement.serial_log, append="on"))
    if placement.agent_socket:
        for channel in devices.findall("channel"):
            target = channel.find("target")
            if target is not None and target.get("name") == GUEST_AGENT:
                replace(channel, element("source", mode="bind", path=placement.agent_socket))


def _place(domain: Element, placement: Placement) -> None:
    if placement.cpus:
        child(domain, "vcpu").set("cpuset", placement.cpus)


def _confine(domain: Element, placement: Placement) -> None:
    if placement.partition:
        replace(domain, group("resource", [element("partition", placement.partition)]))
    if placement.user:
        label = element("label", placement.user)
        replace(domain, element("seclabel", label, type="static", model="dac", relabel="yes"))
    if placement.unconfined:
        replace(domain, element("seclabel", type="none"))
    if placement.emulator:
        replace(_devices(domain), element("emulator", placement.emulator))


def _adapt(domain: Element, placement: Placement) -> None:
    emulation.adapt(domain, host_model=placement.host_model)
    vintage.fit_domain(domain, placement.libvirt)
    fit_schema(domain)


def _devices(domain: Element) -> Element:
    return child(domain, "devices")


STEPS: tuple[Step, ...] = (_identify, _attach, _choose_disk_modes, _wire_sockets, _place, _confine, _adapt)

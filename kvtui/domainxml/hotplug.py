"""Devices for a running domain: the same elements a start would give them, one at a time.

Source: https://libvirt.org/formatdomain.html#memory-devices for virtio-mem
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kvtui.domainxml import attachments, diskpolicy, disks, interfaces, pinning, vintage
from kvtui.domainxml.elements import Element, alias, checked, element, replace
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.guest import Guest
from kvtui.domainxml.schema import fit_device

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance
    from kvtui.domainxml.context import Context
    from kvtui.domainxml.placement import Attachment, DiskFacts

MEMORY_ALIAS = "virtio-mem"


def disk_xml(vmi: VirtualMachineInstance, context: Context, name: str, facts: DiskFacts | None = None) -> Element:
    """The disk with this name, to attach, detach or (a CD-ROM) update. Raises ConversionError."""
    disk = disks.build_one(Guest(vmi, context), name)
    if disk is None:
        raise ConversionError(f"the VMI has no disk {name}", field="spec.domain.devices.disks")
    diskpolicy.apply(disk, facts)
    vintage.fit_disk(disk, context.libvirt)
    fit_device(disk)
    return checked(disk)


def matching_sources(vmi: VirtualMachineInstance, context: Context) -> dict[str, str]:
    """File or device of each disk that asks to match its volume's block sizes, by name; for `Context.block_sizes`."""
    return disks.matching_sources(Guest(vmi, context))


def interface_xml(
    vmi: VirtualMachineInstance, context: Context, name: str, attachment: Attachment, *, vhost_net: bool = True
) -> Element:
    """The interface with this name, to attach, detach or update. Raises ConversionError."""
    guest = Guest(vmi, context)
    interface = interfaces.build_one(guest, name)
    if interface is None:
        raise ConversionError(f"the VMI has no interface {name} to plug", field="spec.domain.devices.interfaces")
    attachments.attach(interface, attachment, vhost_net=vhost_net and context.kvm and not guest.foreign)
    fit_device(interface)
    return checked(interface)


def memory_device_xml(*, size: int, requested: int, block: int, cell: int = 0) -> Element:
    """The virtio-mem device: `size` bytes at most, `requested` bytes now, in blocks of `block` bytes."""
    target = element(
        "target",
        element("size", size, unit="b"),
        element("node", cell),
        element("block", block, unit="b"),
        element("requested", requested, unit="b"),
    )
    return element("memory", target, alias(MEMORY_ALIAS), model="virtio-mem")


def resized_memory(live: Element, requested: int) -> Element:
    """The update of a live <memory> device, with its alias and address, to this many bytes."""
    changed = copy.deepcopy(live)
    target = changed.find("target")
    if target is None:
        raise ConversionError("the memory device has no target", field="spec.domain.memory.guest")
    replace(target, element("requested", requested, unit="b"))
    for current in target.findall("current"):
        target.remove(current)
    return changed


def tuning_xml(vmi: VirtualMachineInstance, context: Context) -> Element | None:
    """The <cputune> of a VMI, for its running domain; None for one without CPUs of its own. Raises ConversionError."""
    return next(iter(pinning.build(Guest(vmi, context))), None)

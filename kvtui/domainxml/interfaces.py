"""Network interfaces: spec.domain.devices.interfaces -> <interface>.

How an interface reaches its network is the node's business: see `attachments` for tap, bridge and user mode.
SR-IOV functions are host devices; binding plugins without a tap attach the guest themselves.

Source: https://libvirt.org/formatdomain.html#network-interfaces
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml import pci
from kvtui.domainxml.elements import Element, alias, element, group
from kvtui.domainxml.errors import ConversionError
from kvtui.domainxml.passt import port_forwards

if TYPE_CHECKING:
    from kvtui.api.kubevirt.domain import Interface
    from kvtui.domainxml.guest import Guest

MAX_QUEUES = 256
"""Queues of a tap device."""


def build(guest: Guest) -> list[Element]:
    networks = {network.name for network in guest.spec.networks}
    parts = []
    for index, interface in enumerate(guest.devices.interfaces):
        if interface.state == "absent":
            continue
        field = f"spec.domain.devices.interfaces[{index}]"
        if interface.name not in networks:
            raise ConversionError(f"failed to find network {interface.name}", field=field)
        if not _attaches_elsewhere(guest, interface):
            parts.append(_interface(guest, interface, field))
    return parts


def build_one(guest: Guest, name: str) -> Element | None:
    """The element of the interface with this name; None if it is absent or attached by others."""
    for index, interface in enumerate(guest.devices.interfaces):
        if interface.name == name and interface.state != "absent" and not _attaches_elsewhere(guest, interface):
            return _interface(guest, interface, f"spec.domain.devices.interfaces[{index}]")
    return None


def uses_tap(guest: Guest, interface: Interface) -> bool:
    """The guest is attached by a tap device that the node provides."""
    if interface.binding is not None:
        return interface.binding.name in guest.context.cluster.tap_bindings
    return interface.bridge is not None or interface.masquerade is not None


def _attaches_elsewhere(guest: Guest, interface: Interface) -> bool:
    plugin = interface.binding is not None and not uses_tap(guest, interface)
    return plugin or interface.sriov is not None


def queues(guest: Guest) -> int:
    """Queue pairs of a virtio interface; 0 without multi-queue."""
    return min(guest.topology.vcpus, MAX_QUEUES) if guest.devices.network_interface_multiqueue else 0


def _interface(guest: Guest, interface: Interface, field: str) -> Element:
    model = interface.model or "virtio"
    parts = [element("model", type=guest.virtio if model == "virtio" else model), alias(interface.name)]
    if model == "virtio":
        parts += _driver(guest)
    if interface.pci_address:
        subject = f"failed to configure interface {interface.name}"
        parts.append(pci.address(interface.pci_address, subject, f"{field}.pciAddress"))
    if (interface.acpi_index or 0) > 0:
        parts.append(element("acpi", index=interface.acpi_index))
    if interface.mac_address:
        parts.append(element("mac", address=interface.mac_address))
    if uses_tap(guest, interface):
        return group("interface", parts + _tap(guest, interface), type="ethernet")
    if interface.passt_binding is not None:
        return group("interface", parts + _passt(guest, interface, field), type="vhostuser")
    raise ConversionError(f"invalid configuration for interface {interface.name}", field=field)


def _driver(guest: Guest) -> list[Element]:
    count = queues(guest)
    if not count and not guest.iommu:
        return []
    return [element("driver", name="vhost", queues=count or None, iommu="on" if guest.iommu else None)]


def _tap(guest: Guest, interface: Interface) -> list[Element]:
    parts = [element("source")]
    if interface.boot_order is not None:
        parts.append(element("boot", order=interface.boot_order))
    # The option ROM is only of use for booting, and iPXE knows nothing of encrypted guests.
    if guest.traits.rom_tuning and (interface.boot_order is None or guest.iommu):
        parts.append(element("rom", enabled="no"))
    if interface.state == "down":
        parts.append(element("link", state="down"))
    return parts


def _passt(guest: Guest, interface: Interface, field: str) -> list[Element]:
    status = guest.interface_status(interface.name)
    if status is None or not status.pod_interface_name:
        name = guest.vmi.metadata.name
        raise ConversionError(
            f"pod interface name not found in vmi {name} status, for interface {interface.name}", field=field
        )
    return [
        element("source", dev=status.pod_interface_name),
        element("backend", type="passt", logFile=guest.paths.passt_log()),
        *port_forwards(guest, interface),
    ]

"""PCI addresses: explicit ones of the spec, slots on the root complex, NUMA-aware buses.

Source: https://libvirt.org/formatdomain.html#device-addresses; https://libvirt.org/pci-addresses.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kvtui.domainxml.elements import Element, element
from kvtui.domainxml.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.domainxml.guest import Guest

ROOT_COMPLEX = "kubevirt.io/placePCIDevicesOnRootComplex"
_ADDRESS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])", re.ASCII)
_RESERVED_SLOTS = frozenset({0x00, 0x01, 0x1B, 0x1F})
"""Host bridge, graphics, first sound device, SATA."""
_SLOTS = 0x20
_LAST_BUS = 254


def address(text: str, subject: str, field: str) -> Element:
    """<address type="pci"> of domain:bus:slot.function. Raises ConversionError, "<subject>: …"."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConversionError(f"{subject}: failed to parse pci address {text}", field=field)
    domain, bus, slot, function = match.groups()
    return element(
        "address", type="pci", domain=f"0x{domain}", bus=f"0x{bus}", slot=f"0x{slot}", function=f"0x{function}"
    )


def place_on_root_complex(devices: Element) -> None:
    """Gives every PCI device without an address a slot of bus 0. Raises ConversionError when they run out."""
    free = (slot for slot in range(_SLOTS) if slot not in _RESERVED_SLOTS)
    for device in _pci_devices(devices):
        if device.find("address") is not None:
            continue
        slot = next(free, None)
        if slot is None:
            raise ConversionError("No space left on the root PCI bus.", field="metadata.annotations")
        device.append(_slot(bus="0x00", slot=f"{slot:#04x}"))


def _slot(*, bus: str, slot: str) -> Element:
    return element("address", type="pci", domain="0x0000", bus=bus, slot=slot, function="0x0")


def _pci_devices(devices: Element) -> Iterator[Element]:
    """Devices that take a slot, in the order in which slots are given out."""
    yield from devices.findall("interface")
    yield from (d for d in devices.findall("hostdev") if d.get("type") == "pci")
    buses = ("pci-root", "pcie-root", "pcie-expander-bus")
    yield from (c for c in devices.findall("controller") if c.get("model") not in buses)
    for disk in devices.findall("disk"):
        target = disk.find("target")
        if target is not None and target.get("bus") == "virtio":
            yield disk
    yield from (i for i in devices.findall("input") if i.get("bus") == "virtio")
    for tag in ("watchdog", "rng", "memballoon"):
        yield from devices.findall(tag)


def place_by_cell(devices: Element, guest: Guest) -> None:
    """Puts host devices behind an expander bus of the guest cell that mirrors their own.

    Each cell with devices gets a pcie-expander-bus with one root port per device; bus numbers count down from 254,
    leaving room for the ports. Devices whose cell the guest does not use stay where libvirt puts them.
    """
    numa = guest.pinning.numa if guest.pinning else None
    if numa is None:
        return
    cell_of = {cell.host_cell: n for n, cell in enumerate(numa.cells)}
    groups: dict[int, list[tuple[str, Element]]] = {}
    for device in devices.findall("hostdev"):
        source = device.find("source/address")
        if device.get("type") != "pci" or source is None or device.find("address") is not None:
            continue
        text = _text(source)
        cell = cell_of.get(guest.context.device_cells.get(text, -1))
        if cell is not None:
            groups.setdefault(cell, []).append((text, device))
    index = max((int(c.get("index", "0")) for c in devices.findall("controller")), default=0)
    taken = 0
    for cell, members in sorted(groups.items()):
        expander = index = index + 1
        taken += 1 + len(members)
        target = element("target", element("node", cell), busNr=_LAST_BUS + 2 - taken)
        devices.append(element("controller", target, type="pci", index=expander, model="pcie-expander-bus"))
        for slot, (_, device) in enumerate(sorted(members, key=lambda member: member[0])):
            index += 1
            port = _slot(bus=f"{expander:#04x}", slot=f"{slot:#04x}")
            devices.append(element("controller", port, type="pci", index=index, model="pcie-root-port"))
            device.append(_slot(bus=f"{index:#04x}", slot="0x00"))


def _text(source: Element) -> str:
    part = {key: source.get(key, "").removeprefix("0x") for key in ("domain", "bus", "slot", "function")}
    return f"{part['domain']}:{part['bus']}:{part['slot']}.{part['function']}".lower()

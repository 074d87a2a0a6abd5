"""Free PCIe ports for what is plugged in later.

A q35 or virt machine takes a device only on a free root port, and ports cannot be added to a running guest. So a
domain is defined twice: first with placeholder NICs, which make libvirt give the real devices the addresses they
will also have once those NICs are there; then without them, with their ports free, and with more free ports.

    finish(domain, placement with placeholders) -> define -> inactive XML -> settle -> define

Source: KubeVirt's PCIe port policy; https://libvirt.org/pci-hotplug.html
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from kvtui.domainxml import pci
from kvtui.domainxml.architecture import Arch, arch_of
from kvtui.domainxml.elements import Element, element

if TYPE_CHECKING:
    from kvtui.api.kubevirt.vmi import VirtualMachineInstance

SLOT_COUNT = "kubevirt.io/pci-interface-slot-count"
INTERFACE_SLOTS = 4
MAX_BUS = 31
LARGE_GUEST = 2 << 30
"""Bytes of memory above which a guest is given more ports."""
PLACEHOLDER = "placeholder-"


def has_ports(vmi: VirtualMachineInstance) -> bool:
    """The machine has PCIe root ports, and devices are not placed on the root complex."""
    spec = vmi.spec
    if vmi.metadata.annotations.get(pci.ROOT_COMPLEX) == "true":
        return False
    machine = (spec.domain.machine.type if spec.domain.machine else None) or ""
    arch = arch_of(spec.architecture)
    return (arch is Arch.AMD64 and (not machine or "q35" in machine)) or (
        arch is Arch.ARM64 and (not machine or machine.startswith("virt"))
    )


def placeholder_count(vmi: VirtualMachineInstance) -> int:
    """NICs that may be added later. A VM that once had its slots counted keeps their number."""
    if not has_ports(vmi):
        return 0
    present = sum(1 for interface in vmi.spec.domain.devices.interfaces if interface.state != "absent")
    frozen = vmi.metadata.annotations.get(SLOT_COUNT, "")
    if frozen.isascii() and frozen.isdigit():
        return max(0, min(int(frozen), MAX_BUS) - present)
    return max(0, INTERFACE_SLOTS - present) if present else 0


def free_port_count(devices_in_use: int, memory: int) -> int:
    """Ports to leave free, for this many PCI devices and bytes of memory."""
    return max(16 - devices_in_use, 6) if memory > LARGE_GUEST else max(8 - devices_in_use, 3)


def add_placeholders(devices: Element, count: int) -> None:
    """Puts placeholder NICs behind the real ones, in place."""
    last = max((n for n, device in enumerate(devices) if device.tag == "interface"), default=-1)
    for n in range(count):
        devices.insert(last + 1 + n, _placeholder(n))


def _placeholder(n: int) -> Element:
    return element(
        "interface",
        element("target", dev=f"{PLACEHOLDER}{n}", managed="no"),
        element("model", type="virtio-non-transitional"),
        element("rom", enabled="no"),
        type="ethernet",
    )


def settle(defined: Element) -> Element:
    """The domain to define for good, out of the inactive XML that libvirt made of the first definition.

    Root ports under devices other than NICs do not take part in hot-plug, so a guest cannot throw those out.
    """
    domain = copy.deepcopy(defined)
    devices = domain.find("devices")
    if devices is None:
        return domain
    freed = 0
    for interface in devices.findall("interface"):
        target = interface.find("target")
        if target is not None and target.get("dev", "").startswith(PLACEHOLDER):
            devices.remove(interface)
            freed += 1
    _fix_occupied(devices)
    wanted = free_port_count(_devices_in_use(devices), _memory(domain))
    _add_ports(devices, max(wanted - freed, 0))
    return domain


def _devices_in_use(devices: Element) -> int:
    return sum(
        1
        for device in devices
        if device.find("address[@type='pci']") is not None
        and not (device.tag == "controller" and device.get("type") == "pci")
    )


def _memory(domain: Element) -> int:
    """Bytes; libvirt writes KiB unless it says otherwise."""
    memory = domain.find("memory")
    if memory is None or not memory.text:
        return 0
    scale = {"b": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
    return int(memory.text) * scale.get(memory.get("unit", "KiB"), 1 << 10)


def _root_ports(devices: Element) -> dict[int, Element]:
    ports = (c for c in devices.findall("controller") if c.get("model") == "pcie-root-port")
    return {int(port.get("index", "0")): port for port in ports}


def _fix_occupied(devices: Element) -> None:
    ports = _root_ports(devices)
    for device in devices:
        address = device.find("address[@type='pci']")
        if address is None or device.tag == "interface":
            continue
        port = ports.get(int(address.get("bus", "0"), 16))
        if port is None:
            continue
        target = port.find("target")
        if target is None:
            target = element("target")
            port.append(target)
        target.set("hotplug", "off")


def _add_ports(devices: Element, count: int) -> None:
    indices = [int(c.get("index", "0")) for c in devices.findall("controller") if c.get("type") == "pci"]
    following = max(indices, default=0) + 1
    for index in range(following, min(following + count, MAX_BUS + 1)):
        devices.append(element("controller", type="pci", index=index, model="pcie-root-port"))

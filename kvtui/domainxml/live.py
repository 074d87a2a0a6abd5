"""A domain's XML read back: typed views of what libvirt says is there.

Sizes are bytes. Devices of the spec carry its names in their aliases; others have an empty name.
Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from kvtui.domainxml import metadata
from kvtui.domainxml.channels import GUEST_AGENT
from kvtui.domainxml.elements import Element
from kvtui.domainxml.names import name_of
from kvtui.errors import InvalidObject

_UNITS = {
    "b": 1,
    "bytes": 1,
    "KB": 10**3,
    "k": 1 << 10,
    "KiB": 1 << 10,
    "MB": 10**6,
    "M": 1 << 20,
    "MiB": 1 << 20,
    "GB": 10**9,
    "G": 1 << 30,
    "GiB": 1 << 30,
    "TB": 10**12,
    "T": 1 << 40,
    "TiB": 1 << 40,
}


@dataclass(frozen=True, slots=True)
class LiveDisk:
    """A disk, LUN or CD-ROM."""

    name: str
    target: str
    """Such as vda, the key of libvirt's block calls."""
    bus: str
    device: str
    source: str
    """File or device; empty for an empty drive."""
    format: str
    serial: str
    readonly: bool
    element: Element


@dataclass(frozen=True, slots=True)
class LiveInterface:
    """A network interface."""

    name: str
    mac: str
    model: str
    device: str
    """The tap."""
    bridge: str
    queues: int
    link_up: bool
    element: Element


@dataclass(frozen=True, slots=True)
class LiveHostDevice:
    """A device of the node that the guest has."""

    name: str
    kind: str
    element: Element


@dataclass(frozen=True, slots=True)
class LiveMemory:
    """A memory device."""

    name: str
    model: str
    size: int
    requested: int
    current: int
    element: Element


@dataclass(frozen=True, slots=True)
class LiveDomain:
    """A whole domain."""

    name: str
    uuid: str
    emulated: bool
    """It runs without KVM."""
    owner: metadata.Ownership | None
    """None for a domain that is not ours."""
    machine: str
    memory: int
    """Boot memory and memory devices together."""
    current_memory: int
    vcpus: int
    """vCPUs that are on."""
    max_vcpus: int
    disks: tuple[LiveDisk, ...]
    interfaces: tuple[LiveInterface, ...]
    host_devices: tuple[LiveHostDevice, ...]
    memory_devices: tuple[LiveMemory, ...]
    vnc_socket: str
    serial_socket: str
    serial_log: str
    agent_connected: bool
    element: Element

    def disk(self, name: str) -> LiveDisk | None:
        """The disk with this name in the spec."""
        return next((disk for disk in self.disks if disk.name == name), None)

    def disk_at(self, target: str) -> LiveDisk | None:
        """The disk with this target name."""
        return next((disk for disk in self.disks if disk.target == target), None)

    def interface(self, name: str) -> LiveInterface | None:
        """The interface with this name in the spec."""
        return next((interface for interface in self.interfaces if interface.name == name), None)

    def interface_with(self, mac: str) -> LiveInterface | None:
        """The interface with this address, in any case of letters."""
        return next((i for i in self.interfaces if i.mac.lower() == mac.lower()), None)


def parse(text: str) -> LiveDomain:
    """The domain in libvirt's XML. Raises InvalidObject for text that is no domain."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - libvirt's own answer
    except ElementTree.ParseError as error:
        raise InvalidObject(f"not a domain document: {error}") from error
    if root.tag != "domain":
        raise InvalidObject(f"<{root.tag}> is not a domain")
    return view(root)


def view(root: Element) -> LiveDomain:
    """The domain in a parsed document."""
    devices = root.find("devices")
    found = Element("devices") if devices is None else devices
    vcpu = root.find("vcpu")
    most = _number("" if vcpu is None else vcpu.text or "")
    memory = _size(root.find("memory"))
    return LiveDomain(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        emulated=root.get("type") == "qemu",
        owner=metadata.read(root),
        machine=_attribute(root.find("os/type"), "machine"),
        memory=memory,
        current_memory=_size(root.find("currentMemory")) or memory,
        vcpus=_present(root, vcpu, most),
        max_vcpus=most,
        disks=tuple(_disk(disk) for disk in found.findall("disk")),
        interfaces=tuple(_interface(interface) for interface in found.findall("interface")),
        host_devices=tuple(LiveHostDevice(name_of(d), d.get("type", ""), d) for d in found.findall("hostdev")),
        memory_devices=tuple(_memory(device) for device in found.findall("memory")),
        vnc_socket=_vnc(found),
        serial_socket=_attribute(found.find("serial/source"), "path"),
        serial_log=_attribute(found.find("serial/log"), "file"),
        agent_connected=_agent(found),
        element=root,
    )


def _disk(disk: Element) -> LiveDisk:
    source, target = disk.find("source"), disk.find("target")
    return LiveDisk(
        name=name_of(disk),
        target=_attribute(target, "dev"),
        bus=_attribute(target, "bus"),
        device=disk.get("device", "disk"),
        source=_attribute(source, "file") or _attribute(source, "dev"),
        format=_attribute(disk.find("driver"), "type"),
        serial=disk.findtext("serial", ""),
        readonly=disk.find("readonly") is not None,
        element=disk,
    )


def _interface(interface: Element) -> LiveInterface:
    return LiveInterface(
        name=name_of(interface),
        mac=_attribute(interface.find("mac"), "address"),
        model=_attribute(interface.find("model"), "type"),
        device=_attribute(interface.find("target"), "dev"),
        bridge=_attribute(interface.find("source"), "bridge"),
        queues=_number(_attribute(interface.find("driver"), "queues")) or 1,
        link_up=_attribute(interface.find("link"), "state") != "down",
        element=interface,
    )


def _memory(device: Element) -> LiveMemory:
    return LiveMemory(
        name=name_of(device),
        model=device.get("model", ""),
        size=_size(device.find("target/size")),
        requested=_size(device.find("target/requested")),
        current=_size(device.find("target/current")),
        element=device,
    )


def _present(root: Element, vcpu: Element | None, most: int) -> int:
    listed = root.findall("vcpus/vcpu")
    if listed:
        return sum(1 for one in listed if one.get("enabled") != "no")
    return _number(_attribute(vcpu, "current")) or most


def _vnc(devices: Element) -> str:
    for graphics in devices.findall("graphics"):
        if graphics.get("type") == "vnc":
            return _attribute(graphics.find("listen"), "socket") or graphics.get("socket", "")
    return ""


def _agent(devices: Element) -> bool:
    for channel in devices.findall("channel"):
        target = channel.find("target")
        if _attribute(target, "name") == GUEST_AGENT:
            return _attribute(target, "state") == "connected"
    return False


def _attribute(found: Element | None, name: str) -> str:
    return "" if found is None else found.get(name, "")


def _size(found: Element | None) -> int:
    """Bytes of an element with a unit; libvirt's default unit is KiB."""
    if found is None:
        return 0
    return _number(found.text or "") * _UNITS.get(found.get("unit", "KiB"), 1 << 10)


def _number(text: str) -> int:
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() else 0

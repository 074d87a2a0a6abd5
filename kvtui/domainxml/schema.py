"""Upstream's words as libvirt's schema has them.

libvirt ignores what it does not know, so upstream's spelling works there; we validate what we define.
Source: domain.rng of libvirt
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import child, drop, element, group

if TYPE_CHECKING:
    from kvtui.domainxml.elements import Element

ORDER = (
    "name",
    "uuid",
    "metadata",
    "maxMemory",
    "memory",
    "memoryBacking",
    "vcpu",
    "vcpus",
    "iothreads",
    "cputune",
    "numatune",
    "resource",
    "sysinfo",
    "os",
    "features",
    "cpu",
    "clock",
    "on_reboot",
    "devices",
    "seclabel",
    "launchSecurity",
)
"""The order in which libvirt writes them, and which people expect."""
MEMORY_SLOTS = 1
"""One virtio-mem device grows and shrinks; libvirt before 10 counts it as a module in a slot."""


def fit_schema(domain: Element) -> None:
    """Makes a domain valid in place, without changing what it means."""
    for tag in ("disk", "filesystem", "hostdev", "interface"):
        for device in domain.findall(f"devices/{tag}"):
            fit_device(device)
    for most in domain.findall("maxMemory"):
        most.set("slots", str(MEMORY_SLOTS))
        _give_memory_a_cell(domain)
    for clock in domain.findall("clock"):
        clock.attrib.setdefault("offset", "utc")  # which is what libvirt takes for none
    for feature in domain.findall("cpu/feature"):
        feature.attrib.setdefault("policy", "require")  # likewise
    for info in domain.findall("sysinfo"):
        for tag in ("bios", "baseBoard", "chassis"):
            _drop_if_empty(info, tag)
    places = {tag: place for place, tag in enumerate(ORDER)}
    domain[:] = sorted(domain, key=lambda part: places.get(part.tag, len(ORDER)))


def _give_memory_a_cell(domain: Element) -> None:
    """Memory can only be plugged into a NUMA cell; newer libvirt makes one by itself."""
    cpu = child(domain, "cpu")
    memory, vcpu = domain.find("memory"), domain.find("vcpu")
    if cpu.find("numa") is not None or memory is None or vcpu is None:
        return
    last = int(vcpu.text or 1) - 1
    cell = element("cell", id=0, cpus=f"0-{last}", memory=memory.text, unit=memory.get("unit"))
    cpu.append(group("numa", [cell]))


def fit_device(device: Element) -> None:
    """Makes one device valid in place."""
    if device.tag == "disk":
        for source in device.iter("source"):
            source.attrib.pop("name", None)
    elif device.tag == "filesystem":
        device.attrib.pop("accessMode", None)  # virtiofs knows no other mode
        for source in device.findall("source"):
            if not source.get("dir"):
                source.attrib.pop("dir", None)
    elif device.tag == "hostdev":
        device.set("mode", "subsystem")
        for address in device.findall("source/address"):
            address.attrib.pop("type", None)
    elif device.tag == "interface":
        for source in device.findall("source"):
            if not source.attrib and not len(source):
                device.remove(source)


def _drop_if_empty(parent: Element, tag: str) -> None:
    found = parent.find(tag)
    if found is not None and not len(found):
        drop(parent, tag)

"""Upstream's words as libvirt's schema has them.

libvirt ignores what it does not know, so upstream's spelling works there; we validate what we define.
Source: domain.rng of libvirt
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.domainxml.elements import drop

if TYPE_CHECKING:
    from kvtui.domainxml.elements import Element


def fit_schema(domain: Element) -> None:
    """Makes a domain valid in place, without changing what it means."""
    for tag in ("disk", "filesystem", "hostdev", "interface"):
        for device in domain.findall(f"devices/{tag}"):
            fit_device(device)
    for memory in domain.findall("maxMemory"):
        memory.attrib.pop("slots", None)
    for memory in [*domain.findall("memory"), *domain.findall("maxMemory")]:
        memory.set("unit", "b")
    for parent in ("sysinfo",):
        for info in domain.findall(parent):
            for tag in ("bios", "baseBoard", "chassis"):
                _drop_if_empty(info, tag)


def fit_device(device: Element) -> None:
    """Makes one device valid in place."""
    if device.tag == "disk":
        for source in device.iter("source"):
            source.attrib.pop("name", None)
    elif device.tag == "filesystem":
        mode = device.attrib.pop("accessMode", None)
        if mode is not None and device.find("driver[@type='virtiofs']") is None:
            device.set("accessmode", mode)
        for source in device.findall("source"):
            if not source.get("dir"):
                source.attrib.pop("dir", None)
    elif device.tag == "hostdev" and device.get("mode") is None:
        device.set("mode", "subsystem")
    elif device.tag == "interface":
        for source in device.findall("source"):
            if not source.attrib and not len(source):
                device.remove(source)


def _drop_if_empty(parent: Element, tag: str) -> None:
    found = parent.find(tag)
    if found is not None and not len(found):
        drop(parent, tag)

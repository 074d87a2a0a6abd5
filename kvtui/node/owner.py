"""The engine record: which engine's agent made a domain, and for which VirtualMachineInstance, kept in its metadata.

Several engines may share one daemon, so a VMI's UID alone does not make a domain ours.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, register_namespace

from kvtui.node.hypervisor import Owner

URI = "https://kvtui.io/engine/1"
PREFIX = "kvtui-engine"
register_namespace(PREFIX, URI)
_FIELDS = ("engine", "namespace", "name", "uid")


def to_element(owner: Owner) -> Element:
    return Element(f"{{{URI}}}vmi", {name: str(getattr(owner, name)) for name in _FIELDS})


def from_element(element: Element) -> Owner | None:
    """None where a field is missing: such a record is not ours to interpret. libvirt strips the namespace."""
    if element.tag.rpartition("}")[2] != "vmi" or any(not element.get(name) for name in _FIELDS):
        return None
    return Owner(*(element.get(name, "") for name in _FIELDS))


def put(domain: Element, owner: Owner) -> None:
    """Writes the record into a domain's description, in place of an older one."""
    metadata = domain.find("metadata")
    if metadata is None:
        metadata = SubElement(domain, "metadata")
    for old in metadata.findall(f"{{{URI}}}vmi"):
        metadata.remove(old)
    metadata.append(to_element(owner))


def find(domain: Element) -> Owner | None:
    """The record of a description."""
    element = domain.find(f"metadata/{{{URI}}}vmi")
    return None if element is None else from_element(element)

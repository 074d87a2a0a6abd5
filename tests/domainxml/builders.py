"""Valid VMIs and contexts that take only what matters to a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.wire import from_wire
from kvtui.domainxml import Context, convert

if TYPE_CHECKING:
    from collections.abc import Mapping

Element = ElementTree.Element
UID = "6f1c2f0e-3b5a-4d0e-9a61-0c8d2d7b1a10"
UUID = "1d7f4a0c-2f6b-5c7e-8a9b-0123456789ab"
NAT = {"interfaces": [{"name": "default", "masquerade": {}}]}


def vmi(
    domain: Mapping[str, Any] | None = None,
    devices: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    status: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> VirtualMachineInstance:
    """A small amd64 VMI; networks and volumes are made for every interface, disk and file system."""
    devices = devices or {}
    disks = [*devices.get("disks", ()), *devices.get("filesystems", ())]
    wire = {
        "metadata": {"name": "web", "namespace": "demo", "uid": UID, "annotations": dict(annotations or {})},
        "spec": {
            "architecture": "amd64",
            "networks": [{"name": interface["name"], "pod": {}} for interface in devices.get("interfaces", ())],
            "volumes": [{"name": disk["name"], "emptyDisk": {"capacity": "1Gi"}} for disk in disks],
            **(spec or {}),
            "domain": {
                "cpu": {"sockets": 1, "cores": 1, "threads": 1},
                "memory": {"guest": "256Mi"},
                "machine": {"type": "q35"},
                "firmware": {"uuid": UUID},
                "features": {"acpi": {}},
                **(domain or {}),
                "devices": dict(devices),
            },
        },
        "status": dict(status or {}),
    }
    return from_wire(wire, VirtualMachineInstance)


def domain_of(context: Context | None = None, **parts: Any) -> Element:
    """The converted domain of such a VMI."""
    return convert(vmi(**parts), context or Context())


def only(root: Element, path: str) -> Element:
    """The one element at this path."""
    found = root.findall(path)
    assert len(found) == 1, f"{len(found)} elements at {path}"
    return found[0]


def attributes(root: Element, path: str) -> dict[str, str]:
    return dict(only(root, path).attrib)

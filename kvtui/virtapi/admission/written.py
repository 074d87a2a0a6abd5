"""Objects as Go writes them after mutation: some members are always there, because they are no pointers.

Source: kubevirt.io/api/core/v1 (fields without omitempty, or structs by value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.wire import Wire, to_wire
from kvtui.virtapi.admission.shape import Shape, Sort, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kvtui.api.kubevirt.vm import VirtualMachineSpec
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec, VirtualMachineInstanceStatus


_ZERO: dict[Sort, Callable[[], Any]] = {
    Sort.STRING: str,
    Sort.INTEGER: int,
    Sort.NUMBER: int,
    Sort.BOOLEAN: bool,
    Sort.QUANTITY: lambda: "0",
    Sort.ARRAY: list,
    Sort.OBJECT: dict,
    Sort.MAP: dict,
}


def _complete(data: Any, shape: Shape) -> None:
    """Puts demanded members with their zero value."""
    match shape.sort:
        case Sort.OBJECT if isinstance(data, dict):
            for name, (_, child) in shape.fields.items():
                if name not in data and name in shape.required and child.sort in _ZERO:
                    data[name] = _ZERO[child.sort]()
                if name in data:
                    _complete(data[name], child)
        case Sort.ARRAY if shape.item is not None:
            for item in data:
                _complete(item, shape.item)
        case Sort.MAP if shape.item is not None:
            for item in data.values():
                _complete(item, shape.item)
        case _:
            return


def written(value: Wire) -> dict[str, Any]:
    """The JSON of a typed value."""
    data: dict[str, Any] = to_wire(value)
    _complete(data, shape_of(type(value)))
    return data


def vmi_spec(spec: VirtualMachineInstanceSpec) -> dict[str, Any]:
    """The JSON of a VMI spec."""
    data = written(spec)
    domain = data["domain"]
    domain.setdefault("resources", {})
    if "features" in domain:
        domain["features"].setdefault("acpi", {})
    for volume in data.get("volumes", ()):
        if "hostDisk" in volume:
            volume["hostDisk"].setdefault("capacity", "0")
    return data


def vmi_status(status: VirtualMachineInstanceStatus) -> dict[str, Any]:
    """The JSON of a VMI status."""
    data = written(status)
    data.setdefault("guestOSInfo", {})
    return data


def vm_spec(spec: VirtualMachineSpec) -> dict[str, Any]:
    """The JSON of a VM spec."""
    data = written(spec)
    template = data["template"]
    template.setdefault("metadata", {})
    template["spec"] = vmi_spec(spec.template.spec)
    for disk in data.get("dataVolumeTemplates", ()):
        disk.setdefault("metadata", {})
        for stanza in ("pvc", "storage"):
            if stanza in disk["spec"]:
                disk["spec"][stanza].setdefault("resources", {})
    return data

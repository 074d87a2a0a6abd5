"""From JSON to typed objects as Go decodes: what does not fit a field's type is refused, zero values vanish.

Go leaves a plain field out when it is zero, and keeps a pointer that is set; rules and written objects depend on it.
Source: control plane admission 5.1 (a value that Go cannot decode is a 400), kubevirt.io/api/core/v1, encoding/json.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from kvtui.api.cdi import datavolume as dv
from kvtui.api.cdi import sources
from kvtui.api.core import parts
from kvtui.api.kubevirt import config, domain, instancetype, pool, vm, vmi
from kvtui.api.wire import Wire, from_wire
from kvtui.errors import InvalidObject
from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.causes import bad_request
from kvtui.virtapi.admission.shape import Shape, Sort, shape_of

if TYPE_CHECKING:
    from kvtui.api.meta import Resource

R = TypeVar("R", bound="Resource")

_UINT32 = (0, 2**32 - 1)
_UINT = (0, 2**64 - 1)
_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": _UINT32,
    "uint": _UINT,
    "uint8": (0, 255),
}
UNSIGNED: dict[tuple[type[Wire], str], str] = {
    **{(domain.CPU, name): "uint32" for name in ("cores", "sockets", "threads", "max_sockets")},
    **{(vmi.CPUTopology, name): "uint32" for name in ("cores", "sockets", "threads")},
    **{(domain.CustomBlockSize, name): "uint" for name in ("logical", "physical", "discard_granularity")},
    (domain.Disk, "boot_order"): "uint",
    (domain.Interface, "boot_order"): "uint",
    (domain.DiskIOThreads, "supplemental_pool_thread_count"): "uint32",
    (domain.FeatureSpinlocks, "spinlocks"): "uint32",
    (instancetype.CPUInstancetype, "guest"): "uint32",
    (instancetype.CPUInstancetype, "max_sockets"): "uint32",
    (instancetype.SpreadOptions, "ratio"): "uint32",
    (instancetype.CPUPreferenceRequirement, "guest"): "uint32",
    (instancetype.VirtualMachinePreferenceSpec, "prefer_spread_socket_to_core_ratio"): "uint32",
    (config.LiveUpdateConfiguration, "max_cpu_sockets"): "uint32",
    (config.LiveUpdateConfiguration, "max_hotplug_ratio"): "uint32",
    (config.MigrationConfiguration, "parallel_migrations_per_cluster"): "uint32",
    (config.MigrationConfiguration, "parallel_outbound_migrations_per_node"): "uint32",
    (config.ComponentConfig, "replicas"): "uint8",
    (vmi.VirtualMachineInstanceStatus, "vsockcid"): "uint32",
}
"""Integers that Go holds unsigned, or in fewer bits than the schema's format says."""

VALUES: frozenset[tuple[type[Wire], str]] = frozenset(
    {
        (domain.CPU, "dedicated_cpu_placement"),
        (domain.CPU, "isolate_emulator_thread"),
        (domain.CPU, "cores"),
        (domain.CPU, "sockets"),
        (domain.CPU, "threads"),
        (domain.CPU, "max_sockets"),
        (domain.DiskTarget, "readonly"),
        (domain.LunTarget, "readonly"),
        (domain.LunTarget, "reservation"),
        (domain.ResourceRequirements, "overcommit_guest_overhead"),
        (domain.FeatureKVM, "hidden"),
        (domain.Devices, "disable_hotplug"),
        (domain.Interface, "acpi_index"),
        (domain.CustomBlockSize, "logical"),
        (domain.CustomBlockSize, "physical"),
        (vmi.MultusNetwork, "default"),
        (vmi.PersistentVolumeClaimVolumeSource, "hotpluggable"),
        (vmi.PersistentVolumeClaimVolumeSource, "read_only"),
        (vmi.MemoryDumpVolumeSource, "hotpluggable"),
        (vmi.MemoryDumpVolumeSource, "read_only"),
        (vmi.UtilityVolume, "read_only"),
        (vmi.DataVolumeSource, "hotpluggable"),
        (parts.ClaimVolumeSource, "read_only"),
        *((vmi.Probe, name) for name in ("initial_delay_seconds", "timeout_seconds", "period_seconds")),
        *((vmi.Probe, name) for name in ("success_threshold", "failure_threshold")),
        *((vmi.CPUTopology, name) for name in ("cores", "sockets", "threads")),
        (vm.VirtualMachineStatus, "created"),
        (vm.VirtualMachineStatus, "ready"),
        (vm.VirtualMachineStatus, "desired_generation"),
        (vm.VirtualMachineStatus, "observed_generation"),
        (dv.DataVolumeSpec, "final_checkpoint"),
        (dv.DataVolumeSourceImageIO, "insecure_skip_verify"),
        (dv.DataVolumeSourceHTTP, "insecure_skip_verify"),
        (pool.VirtualMachinePoolSpec, "paused"),
        (instancetype.MemoryInstancetype, "overcommit_percent"),
    }
)
"""Plain (not pointer) fields of Go that are left out when 0 or false."""

_KEPT_EMPTY: frozenset[tuple[type[Wire], str]] = frozenset(
    {
        (vm.VirtualMachineSpec, "run_strategy"),
        (vmi.VirtualMachineInstanceSpec, "eviction_strategy"),
        (vmi.VirtualMachineInstanceSpec, "start_strategy"),
        (domain.DomainSpec, "io_threads_policy"),
        (domain.DomainSpec, "reboot_policy"),
        (domain.Disk, "error_policy"),
        (domain.PanicDevice, "model"),
        (domain.GPU, "claim_name"),
        (domain.GPU, "request_name"),
        (domain.HostDevice, "claim_name"),
        (domain.HostDevice, "request_name"),
        (sources.DataImportCronSpec, "garbage_collect"),
        (dv.DataVolumeSourceRegistry, "url"),
        (dv.DataVolumeSourceRegistry, "image_stream"),
        (dv.DataVolumeSourceRegistry, "pull_method"),
        (parts.TypedLocalObjectReference, "api_group"),
        (parts.TypedObjectReference, "api_group"),
        (parts.PersistentVolumeClaimSpec, "storage_class_name"),
        (dv.StorageSpec, "storage_class_name"),
        *((vmi.StallDetectorOptions, name) for name in ("ewma_alpha", "precopy_possible_factor")),
        *((vmi.StallDetectorOptions, name) for name in ("patience_window_decay_factor", "completion_timeout_factor")),
    }
)
"""Strings behind a pointer, where empty is not the same as absent."""


def decode(data: dict[str, Any], type_: type[R]) -> R:
    """The typed object with Go's zero values gone. Raises Denied (400) naming the first misfit."""
    return cast("R", normal(read(data, type_)))


def read(data: dict[str, Any], type_: type[R]) -> R:
    """The typed object as it is written. Raises Denied (400) naming the first misfit."""
    _check(data, shape_of(type_), type_.__name__, "")
    try:
        return from_wire(data, type_)
    except InvalidObject as error:
        raise bad_request(str(error)) from error


def _check(data: Any, shape: Shape, root: str, path: str, held: str = "") -> None:
    """Numbers that do not fit and quantities that are none."""
    if data is None:
        return
    match shape.sort:
        case Sort.OBJECT if isinstance(data, dict):
            for name, value in data.items():
                known = shape.fields.get(name)
                if known is not None:
                    attribute, child = known
                    go_type = UNSIGNED.get((cast("type[Wire]", shape.type), attribute), child.format)
                    _check(value, child, root, f"{path}.{name}" if path else name, go_type)
        case Sort.ARRAY if isinstance(data, list) and shape.item is not None:
            for value in data:
                _check(value, shape.item, root, path, held)
        case Sort.MAP if isinstance(data, dict) and shape.item is not None:
            for value in data.values():
                _check(value, shape.item, root, path, held)
        case Sort.INTEGER if isinstance(data, int | float) and held in _RANGES:
            low, high = _RANGES[held]
            if not low <= data <= high or data != int(data):
                raise bad_request(
                    f"json: cannot unmarshal number {data} into Go struct field {root}.{path} of type {held}"
                )
        case Sort.QUANTITY:
            wrong = amounts.complaint(str(data).strip())
            if wrong:
                raise bad_request(wrong)
        case _:
            return


def normal(value: Any) -> Any:
    """The value with plain zero fields absent and quantities as Go would write them."""
    if isinstance(value, msgspec.Struct):
        return _normal_struct(value)
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return value


def _normal_struct(value: msgspec.Struct) -> msgspec.Struct:
    type_ = cast("type[Wire]", type(value))
    shape = shape_of(type_)
    changes: dict[str, Any] = {}
    for name, child in shape.fields.values():
        old = getattr(value, name)
        if old is None:
            continue
        new: Any
        if child.sort is Sort.QUANTITY:
            new = amounts.text_of(old)
        elif child.sort is Sort.MAP and child.item is not None and child.item.sort is Sort.QUANTITY:
            new = {key: amounts.text_of(item) for key, item in old.items()}
        elif old == "":
            new = old if (type_, name) in _KEPT_EMPTY or not _may_be_absent(type_, name) else None
        elif (type_, name) in VALUES and not old:
            new = None
        else:
            new = normal(old) if child.sort in (Sort.OBJECT, Sort.ARRAY, Sort.MAP) else old
        if new is not old:
            changes[name] = new
    return msgspec.structs.replace(value, **changes) if changes else value


@cache
def _may_be_absent(type_: type[Wire], name: str) -> bool:
    defaults = {entry.name: entry.default for entry in msgspec.structs.fields(type_)}
    return defaults[name] is None

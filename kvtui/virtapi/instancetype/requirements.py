"""What a preference demands of a VM.

Source: life-cycle facts 8.4; kubevirt pkg/instancetype/preference/requirements.
"""

from __future__ import annotations

from typing import NamedTuple

from kvtui.api.kubevirt.domain import CPU
from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
from kvtui.virtapi.admission import amounts
from kvtui.virtapi.instancetype import topology

INSTANCETYPE = "spec.instancetype"
CPU_FIELD = "spec.template.spec.domain.cpu"
_LEVELS = {
    topology.SOCKETS_CORES: ("sockets", "cores"),
    topology.CORES_THREADS: ("cores", "threads"),
    topology.SOCKETS_CORES_THREADS: ("sockets", "cores", "threads"),
}


class Shortfall(NamedTuple):
    """What is not met, and the field (or fields) to blame."""

    message: str
    field: str


def shortfall(
    instancetype: VirtualMachineInstancetypeSpec | None,
    preference: VirtualMachinePreferenceSpec | None,
    spec: VirtualMachineInstanceSpec,
) -> Shortfall | None:
    """The first demand that is not met; `spec` has its defaults and the instancetype applied."""
    demands = preference.requirements if preference is not None else None
    if preference is None or demands is None:
        return None
    if demands.cpu is not None:
        found = _cpu(instancetype, preference, spec, demands.cpu.guest)
        if found is not None:
            return found
    if demands.memory is not None:
        wanted = demands.memory.guest
        memory = spec.domain.memory
        given = instancetype.memory.guest if instancetype is not None else (memory.guest if memory else None)
        if amounts.exact(given) < amounts.exact(wanted):
            owner = "instance type" if instancetype is not None else "VirtualMachine"
            return Shortfall(
                f"insufficient Memory resources of {amounts.shown(given)} provided by {owner}, preference requires "
                f"{amounts.shown(wanted)}",
                INSTANCETYPE if instancetype is not None else "spec.template.spec.domain.memory",
            )
    if demands.architecture is not None and spec.architecture != demands.architecture:
        return Shortfall(
            f"preference requires architecture {demands.architecture} but {spec.architecture or ''} is being requested",
            "spec.template.spec.architecture",
        )
    return None


def _cpu(
    instancetype: VirtualMachineInstancetypeSpec | None,
    preference: VirtualMachinePreferenceSpec,
    spec: VirtualMachineInstanceSpec,
    wanted: int,
) -> Shortfall | None:
    if instancetype is not None:
        given = instancetype.cpu.guest
        if given >= wanted:
            return None
        message = (
            f"insufficient CPU resources of {given} vCPU provided by instance type, preference requires {wanted} vCPU"
        )
        return Shortfall(message, INSTANCETYPE)
    if spec.domain.cpu is None:
        return Shortfall(f"no CPU resources provided by VirtualMachine, preference requires {wanted} vCPU", CPU_FIELD)
    levels, name = _levels(preference)
    given = _product(spec.domain.cpu, levels)
    if given >= wanted:
        return None
    return Shortfall(
        f"insufficient CPU resources of {given} vCPU provided by VirtualMachine, preference requires {wanted} vCPU "
        f"provided as {name}",
        ", ".join(f"{CPU_FIELD}.{level}" for level in levels),
    )


def _levels(preference: VirtualMachinePreferenceSpec) -> tuple[tuple[str, ...], str]:
    """The levels that count, and how they are called."""
    match topology.preferred(preference):
        case "spread":
            _, across = topology.spread(preference)
            return _LEVELS.get(across, _LEVELS[topology.SOCKETS_CORES]), across
        case "any":
            return ("cores", "sockets", "threads"), "cores, sockets and threads"
        case level:
            return (level,), level


def _product(cpu: CPU, levels: tuple[str, ...]) -> int:
    product = 1
    for level in levels:
        product *= getattr(cpu, level) or 0
    return product

"""The instancetype and preference of a VM at admission: conflicts, divisible vCPUs, demands.

Source: control plane facts 5.1 and 5.2; life-cycle facts 8.1 to 8.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kvtui.api.wire import evolve
from kvtui.errors import InvalidObject, NotFound
from kvtui.virtapi.admission.causes import Path, invalid, not_found
from kvtui.virtapi.instancetype import instancetype as types
from kvtui.virtapi.instancetype import lookup, preference, requirements, topology

if TYPE_CHECKING:
    from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
    from kvtui.api.kubevirt.vm import VirtualMachine
    from kvtui.api.kubevirt.vmi import VirtualMachineInstanceSpec
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

TEMPLATE = Path("spec.template")


class Chosen(NamedTuple):
    """What the matchers name; an object that is missing is left to the VM's controller."""

    instancetype: VirtualMachineInstancetypeSpec | None
    preference: VirtualMachinePreferenceSpec | None


def find(vm: VirtualMachine, namespace: str, view: ClusterView) -> tuple[Chosen, list[Cause]]:
    chosen, preferred = None, None
    try:
        chosen = lookup.instancetype_of(vm, namespace, view)
    except NotFound:
        chosen = None
    except (lookup.UnknownKind, InvalidObject) as error:
        return Chosen(None, None), [not_found(f"Failure to find instancetype: {error}", "spec.instancetype")]
    try:
        preferred = lookup.preference_of(vm, namespace, view)
    except NotFound:
        preferred = None
    except (lookup.UnknownKind, InvalidObject) as error:
        return Chosen(None, None), [not_found(f"Failure to find preference: {error}", "spec.preference")]
    return Chosen(chosen, preferred), []


def applied(vm: VirtualMachine, chosen: Chosen) -> tuple[VirtualMachine, list[Cause]]:
    """The VM with both applied, or why that cannot be."""
    problem = topology.spread_problem(*chosen)
    if problem:
        return vm, [invalid(problem, "instancetype.spec.cpu.guest")]
    template = vm.spec.template
    if chosen.instancetype is not None:
        clashes = types.conflicts(template, chosen.instancetype)
        if clashes:
            return vm, [_conflict(name) for name in clashes]
        template = types.apply(template, chosen.instancetype, chosen.preference)
    if chosen.preference is not None:
        template = preference.apply(template, chosen.preference)
    return evolve(vm, spec=evolve(vm.spec, template=template)), []


def _conflict(name: str) -> Cause:
    field = name if name.startswith("annotations.") else TEMPLATE.child("spec", name)
    return invalid(f"VM field(s) {field} conflicts with selected instance type", field)


def demands(chosen: Chosen, spec: VirtualMachineInstanceSpec) -> list[Cause]:
    """`spec` has its defaults."""
    missing = requirements.shortfall(chosen.instancetype, chosen.preference, spec)
    if missing is None:
        return []
    return [not_found(f"failure checking preference requirements: {missing.message}", missing.field)]

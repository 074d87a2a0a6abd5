"""A VM with its instancetype and preference written out, as `expand` shows it.

Source: life-cycle facts 8.1, 8.3, 8.6; kubevirt pkg/instancetype/expand.
"""

from __future__ import annotations

from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.wire import evolve
from kvtui.errors import Permanent
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.admission.defaults import network_interface, volume_disks
from kvtui.virtapi.admission.view import ClusterView
from kvtui.virtapi.instancetype import instancetype as types
from kvtui.virtapi.instancetype import lookup, preference


class InConflict(Permanent):
    """The template and the instancetype both set these fields."""

    def __init__(self, fields: list[str]) -> None:
        super().__init__(f"VM field(s) {', '.join(fields)} conflicts with selected instance type")
        self.fields = fields


def expanded(vm: VirtualMachine, namespace: str, view: ClusterView, config: ClusterConfig) -> VirtualMachine:
    """The VM without matchers; default network and disks are written out first. Raises NotFound, InConflict."""
    chosen = lookup.instancetype_of(vm, namespace, view)
    preferred = lookup.preference_of(vm, namespace, view)
    if chosen is None and preferred is None:
        return vm
    template = vm.spec.template
    if preferred is not None:
        template = preference.autoattach(template, preferred)
    spec = volume_disks(network_interface(template.spec, config))
    template = evolve(template, spec=spec)
    if chosen is not None:
        clashes = types.conflicts(template, chosen)
        if clashes:
            raise InConflict([f"spec.template.spec.{name}" for name in clashes])
        template = types.apply(template, chosen, preferred)
    if preferred is not None:
        template = preference.apply(template, preferred)
    return evolve(vm, spec=evolve(vm.spec, template=template, instancetype=None, preference=None))

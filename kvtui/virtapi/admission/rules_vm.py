"""Webhooks for VirtualMachines and pools of them.

Source: control plane facts 1.5 and 5.2; life-cycle facts 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.kubevirt.pool import VirtualMachinePool
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.virtapi.admission import identity, pool, vm_mutate, vm_validate
from kvtui.virtapi.admission.causes import refuse
from kvtui.virtapi.admission.view import cluster_config
from kvtui.virtapi.admission.vm_requests import validate_requests
from kvtui.virtapi.admission.written import vm_spec

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView


def mutate_vm(call: Call, view: ClusterView) -> tuple[dict[str, Any], list[str]]:
    vm, config = call.checked(VirtualMachine), cluster_config(view)
    refuse(vm_mutate.validate_matchers(vm.spec))
    if not call.creates:
        refuse(vm_mutate.validate_revisions(vm.spec, call.old(VirtualMachine).spec))
    fresh = call.chance.uuids if call.creates else None
    vm = vm_mutate.mutated(vm, call.request.namespace, view, config, fresh=fresh)
    return {**call.data, "spec": vm_spec(vm.spec)}, []


def validate_vm(call: Call, view: ClusterView) -> list[str]:
    if (call.data.get("metadata") or {}).get("deletionTimestamp"):
        return []
    vm = call.checked(VirtualMachine)
    old = None if call.creates else call.old(VirtualMachine)
    component = identity.is_component(call.user, cluster_config(view).namespace)
    refuse(vm_validate.validate_vm(vm, old, call.request.namespace, view, by_component=component))
    return [vm_validate.RUNNING_DEPRECATED] if vm.spec.running is not None else []


def validate_vm_status(call: Call, view: ClusterView) -> list[str]:
    """Volume requests and locks are looked at when the status is written, too."""
    vm, old = call.new(VirtualMachine), call.old(VirtualMachine)
    refuse(
        validate_requests(vm, call.request.namespace, view, cluster_config(view)) or vm_validate.validate_locks(vm, old)
    )
    return []


def validate_pool(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(VirtualMachinePool)
    component = identity.is_component(call.user, cluster_config(view).namespace)
    refuse(pool.validate(call.checked(VirtualMachinePool), old, cluster_config(view), by_component=component))
    return []

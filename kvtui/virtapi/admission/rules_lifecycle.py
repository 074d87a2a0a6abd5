"""Webhooks for snapshots, restores, clones, exports, backups, instancetypes, preferences and migration policies.

Source: control plane facts 1.5 and 5.9; life-cycle facts 1 to 5 and 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.kubevirt.backup import VirtualMachineBackup
from kvtui.api.kubevirt.clone import VirtualMachineClone
from kvtui.api.kubevirt.export import VirtualMachineExport
from kvtui.api.kubevirt.instancetype import VirtualMachineInstancetype, VirtualMachinePreference
from kvtui.api.kubevirt.migration import MigrationPolicy
from kvtui.api.kubevirt.snapshot import VirtualMachineRestore, VirtualMachineSnapshot
from kvtui.api.wire import to_wire
from kvtui.virtapi.admission import clone, export, instancetype_kinds, policy, snapshot
from kvtui.virtapi.admission.causes import bad_request, invalid, refuse
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.view import cluster_config

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView


def validate_snapshot(call: Call, view: ClusterView) -> list[str]:
    if call.creates and not cluster_config(view).gate("Snapshot"):
        raise bad_request("snapshot feature gate not enabled")
    new = call.new(VirtualMachineSnapshot)
    if call.creates:
        refuse(snapshot.validate_snapshot(new))
    else:
        refuse(snapshot.immutable(new.spec, call.old(VirtualMachineSnapshot).spec))
    return []


def validate_restore(call: Call, view: ClusterView) -> list[str]:
    if call.creates and not cluster_config(view).gate("Snapshot"):
        raise bad_request("Snapshot/Restore feature gate not enabled")
    new = call.new(VirtualMachineRestore)
    if call.creates:
        refuse(snapshot.validate_restore(new, call.request.namespace, view))
    else:
        refuse(snapshot.immutable(new.spec, call.old(VirtualMachineRestore).spec))
    return []


def mutate_clone(call: Call, view: ClusterView) -> tuple[dict[str, Any], list[str]]:
    wanted = call.new(VirtualMachineClone)
    named = clone.with_target(wanted, call.chance.suffix)
    if named is wanted:
        return call.data, []
    return {**call.data, "spec": {**call.data["spec"], "target": to_wire(named.spec.target)}}, []


def validate_clone(call: Call, view: ClusterView) -> list[str]:
    if call.creates and not cluster_config(view).gate("Snapshot"):
        raise bad_request("snapshot feature gate is not enabled")
    refuse(clone.validate(call.new(VirtualMachineClone)))
    return []


def validate_export(call: Call, view: ClusterView) -> list[str]:
    new = call.new(VirtualMachineExport)
    if call.creates:
        refuse(export.validate_export(new, templates=cluster_config(view).gate("OCIExport")))
    else:
        refuse(snapshot.immutable(new.spec, call.old(VirtualMachineExport).spec))
    return []


def validate_backup(call: Call, view: ClusterView) -> list[str]:
    if call.creates and not cluster_config(view).gate("IncrementalBackup"):
        raise bad_request("IncrementalBackup feature gate not enabled")
    new = call.new(VirtualMachineBackup)
    if call.creates:
        refuse(export.validate_backup(new, call.request.namespace, view))
    elif not same(new.spec, call.old(VirtualMachineBackup).spec):
        refuse([invalid("spec is immutable after creation", "spec")])
    return []


def validate_instancetype(call: Call, view: ClusterView) -> list[str]:
    refuse(instancetype_kinds.validate_instancetype(call.new(VirtualMachineInstancetype).spec))
    return []


def validate_preference(call: Call, view: ClusterView) -> list[str]:
    spec = call.new(VirtualMachinePreference).spec
    refuse(instancetype_kinds.validate_preference(spec))
    return instancetype_kinds.preference_warnings(spec)


def validate_policy(call: Call, view: ClusterView) -> list[str]:
    old = None if call.creates else call.old(MigrationPolicy)
    refuse(policy.validate(call.new(MigrationPolicy), old, cluster_config(view)))
    return []

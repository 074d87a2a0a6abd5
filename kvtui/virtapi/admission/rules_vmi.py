"""Webhooks for instances and what is made of instances: VMI, presets, replica sets, migrations.

Source: control plane facts 1.4, 1.5, 3.2, 5.3 to 5.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.replicaset import VirtualMachineInstanceReplicaSet
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstancePreset
from kvtui.virtapi.admission import identity, migration, presets, replicaset, vmi_mutate, vmi_update
from kvtui.virtapi.admission.causes import refuse
from kvtui.virtapi.admission.view import cluster_config
from kvtui.virtapi.admission.vmi_spec import validate_instance
from kvtui.virtapi.admission.written import vmi_spec, vmi_status

if TYPE_CHECKING:
    from kvtui.virtapi.admission.call import Call
    from kvtui.virtapi.admission.view import ClusterView

Mutated = tuple[dict[str, Any], list[str]]


def mutate_vmi_create(call: Call, view: ClusterView) -> Mutated:
    vmi = call.checked(VirtualMachineInstance)
    config = cluster_config(view)
    vmi = presets.apply(vmi, view.all(VirtualMachineInstancePreset, call.request.namespace))
    vmi = vmi_mutate.created(vmi, config, uuid=call.chance.uuids[0], now=call.chance.now)
    metadata: dict[str, Any] = {"finalizers": vmi.metadata.finalizers}
    if vmi.metadata.annotations:
        metadata["annotations"] = vmi.metadata.annotations
    data = call.with_metadata(metadata) | {"spec": vmi_spec(vmi.spec), "status": vmi_status(vmi.status)}
    return data, [presets.WARNING] if presets.was_applied(vmi.metadata.annotations) else []


def mutate_vmi_update(call: Call, view: ClusterView) -> Mutated:
    """A status from anyone but KubeVirt's own is replaced by the old one, in silence."""
    if not call.keeps_spec:
        call.checked(VirtualMachineInstance)
    old = (call.request.old_object or {}).get("status")
    if call.data.get("status") == old or identity.is_component(call.user, cluster_config(view).namespace):
        return call.data, []
    data = {key: value for key, value in call.data.items() if key != "status"}
    return (data if old is None else data | {"status": old}), []


def validate_vmi_create(call: Call, view: ClusterView) -> list[str]:
    vmi, config = call.checked(VirtualMachineInstance), cluster_config(view)
    component = identity.is_component(call.user, config.namespace)
    refuse(validate_instance(vmi, config, by_component=component))
    return []


def validate_vmi_update(call: Call, view: ClusterView) -> list[str]:
    new, old = call.update(VirtualMachineInstance)
    refuse(vmi_update.validate_update(new, old, cluster_config(view), call.user))
    return []


def validate_preset(call: Call, view: ClusterView) -> list[str]:
    refuse(presets.validate(call.checked(VirtualMachineInstancePreset)))
    return []


def validate_replica_set(call: Call, view: ClusterView) -> list[str]:
    wanted = call.checked(VirtualMachineInstanceReplicaSet)
    refuse(replicaset.validate(wanted, cluster_config(view), creates=call.creates))
    return []


def mutate_migration(call: Call, view: ClusterView) -> Mutated:
    wanted = call.checked(VirtualMachineInstanceMigration)
    return call.with_metadata(migration.created_metadata(wanted)), []


def validate_migration_create(call: Call, view: ClusterView) -> list[str]:
    wanted = call.checked(VirtualMachineInstanceMigration)
    refuse(migration.validate_create(wanted, view, call.request.namespace, call.user))
    return []


def validate_migration_update(call: Call, view: ClusterView) -> list[str]:
    new, old = call.checked(VirtualMachineInstanceMigration), call.old(VirtualMachineInstanceMigration)
    refuse(migration.validate_update(new, old))
    return []

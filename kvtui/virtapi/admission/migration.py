"""Migrations: who may ask for one, and when.

Source: control plane facts 5.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.virtapi.admission import identity
from kvtui.virtapi.admission.causes import bad_request, forbidden, invalid, not_supported, required
from kvtui.virtapi.admission.same import same
from kvtui.virtapi.admission.view import cluster_config

if TYPE_CHECKING:
    from kvtui.api.admission import UserInfo
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

Migration = VirtualMachineInstanceMigration

VMI_LABEL = "kubevirt.io/vmi-name"
FINALIZER = "kubevirt.io/migrationJobFinalize"
FINAL = ("Succeeded", "Failed")
NOT_MIGRATABLE_DISKS = "DisksNotLiveMigratable"


def created_metadata(migration: Migration) -> dict[str, Any]:
    """What the mutating webhook adds: the label that finds migrations of an instance, and a finalizer."""
    metadata = migration.metadata
    return {
        "labels": {**metadata.labels, VMI_LABEL: migration.spec.vmi_name or ""},
        "finalizers": [*metadata.finalizers, FINALIZER],
    }


def validate_create(migration: Migration, view: ClusterView, namespace: str, user: UserInfo) -> list[Cause]:
    """Raises Denied (400) for a state that forbids it."""
    spec, config = migration.spec, cluster_config(view)
    if not spec.vmi_name:
        return [required("vmiName is missing", "spec.vmiName")]
    if spec.priority is not None and not identity.is_controller(user, config.namespace):
        return [
            forbidden(
                "Migration priority queue, only virt-controller is allowed to set priority field",
                "spec.migrationPriority",
            )
        ]
    decentralized = spec.send_to is not None or spec.receive is not None
    _refuse_by_state(spec.vmi_name, view, namespace, decentralized=decentralized)
    if decentralized and not config.gate("DecentralizedLiveMigration"):
        return [not_supported("DecentralizedLiveMigration feature gate is not enabled in kubevirt resource")]
    if spec.send_to is not None and spec.receive is not None and spec.send_to.migration_id != spec.receive.migration_id:
        sent, received = spec.send_to.migration_id, spec.receive.migration_id
        return [invalid(f"sendTo migrationID {sent} does not match receive migrationID {received}")]
    return []


def _refuse_by_state(name: str, view: ClusterView, namespace: str, *, decentralized: bool) -> None:
    vmi = view.find(VirtualMachineInstance, namespace, name)
    if vmi is None:
        raise bad_request(f'the VMI "{namespace}/{name}" does not exist')
    if vmi.status.phase in FINAL:
        raise bad_request("Cannot migrate VMI in finalized state.")
    for condition in vmi.status.conditions:
        if condition.type != "LiveMigratable" or condition.status != "False":
            continue
        if not (decentralized and condition.reason == NOT_MIGRATABLE_DISKS):
            reason, message = condition.reason or "", condition.message or ""
            raise bad_request(f"Cannot migrate VMI, Reason: {reason}, Message: {message}")
    for other in view.all(Migration, namespace):
        if other.metadata.labels.get(VMI_LABEL) == name and other.status.phase not in FINAL:
            raise bad_request(
                f"in-flight migration detected. Active migration job ({other.metadata.uid}) is currently already "
                f"in progress for VMI {name}."
            )


def validate_update(new: Migration, old: Migration) -> list[Cause]:
    if not same(new.spec, old.spec):
        return [not_supported("update of Migration object's spec is restricted")]
    label = old.metadata.labels.get(VMI_LABEL)
    if label is not None and old.status.phase not in FINAL and new.metadata.labels.get(VMI_LABEL) != label:
        what = "modified on" if new.metadata.labels else "removed from"
        return [not_supported(f"selector label can't be {what} an in-flight migration")]
    return []

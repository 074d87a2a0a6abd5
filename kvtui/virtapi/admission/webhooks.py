"""Which rules see which writes, and under which name they answer.

Source: control plane facts 1.5; cdi-apiserver's webhook configurations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kvtui.virtapi.admission import cdi_claims, eviction, rules_cdi, rules_cluster, rules_lifecycle, rules_vm, rules_vmi
from kvtui.virtapi.admission.call import Call
from kvtui.virtapi.admission.view import ClusterView

if TYPE_CHECKING:
    from kvtui.api.admission import AdmissionRequest

Mutate = Callable[[Call, ClusterView], tuple[dict[str, Any], list[str]]]
Validate = Callable[[Call, ClusterView], list[str]]

CREATE, UPDATE, DELETE = "CREATE", "UPDATE", "DELETE"
KUBEVIRT = "kubevirt.io"
CDI = "cdi.kubevirt.io"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One registration. `resource` may name a subresource after a slash."""

    name: str
    group: str
    resource: str
    operations: tuple[str, ...]
    mutate: Mutate | None = None
    validate: Validate | None = None


WEBHOOKS: tuple[Webhook, ...] = (
    Webhook(
        "virtualmachines-mutator.kubevirt.io",
        KUBEVIRT,
        "virtualmachines",
        (CREATE, UPDATE),
        mutate=rules_vm.mutate_vm,
    ),
    Webhook(
        "virtualmachine-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachines",
        (CREATE, UPDATE),
        validate=rules_vm.validate_vm,
    ),
    Webhook(
        "kubevirt-crd-status-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachines/status",
        (CREATE, UPDATE),
        validate=rules_vm.validate_vm_status,
    ),
    Webhook(
        "virtualmachinepool-validator.kubevirt.io",
        "pool.kubevirt.io",
        "virtualmachinepools",
        (CREATE, UPDATE),
        validate=rules_vm.validate_pool,
    ),
    Webhook(
        "virtualmachineinstances-mutator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstances",
        (CREATE,),
        mutate=rules_vmi.mutate_vmi_create,
    ),
    Webhook(
        "virtualmachineinstances-mutator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstances",
        (UPDATE,),
        mutate=rules_vmi.mutate_vmi_update,
    ),
    Webhook(
        "virtualmachineinstances-create-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstances",
        (CREATE,),
        validate=rules_vmi.validate_vmi_create,
    ),
    Webhook(
        "virtualmachineinstances-update-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstances",
        (UPDATE,),
        validate=rules_vmi.validate_vmi_update,
    ),
    Webhook(
        "virtualmachinepreset-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstancepresets",
        (CREATE, UPDATE),
        validate=rules_vmi.validate_preset,
    ),
    Webhook(
        "virtualmachinereplicaset-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstancereplicasets",
        (CREATE, UPDATE),
        validate=rules_vmi.validate_replica_set,
    ),
    Webhook(
        "migrations-mutator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstancemigrations",
        (CREATE,),
        mutate=rules_vmi.mutate_migration,
    ),
    Webhook(
        "migration-create-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstancemigrations",
        (CREATE,),
        validate=rules_vmi.validate_migration_create,
    ),
    Webhook(
        "migration-update-validator.kubevirt.io",
        KUBEVIRT,
        "virtualmachineinstancemigrations",
        (UPDATE,),
        validate=rules_vmi.validate_migration_update,
    ),
    Webhook(
        "virtualmachinesnapshot-validator.snapshot.kubevirt.io",
        "snapshot.kubevirt.io",
        "virtualmachinesnapshots",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_snapshot,
    ),
    Webhook(
        "virtualmachinerestore-validator.snapshot.kubevirt.io",
        "snapshot.kubevirt.io",
        "virtualmachinerestores",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_restore,
    ),
    Webhook(
        "vm-clone-mutator.kubevirt.io",
        "clone.kubevirt.io",
        "virtualmachineclones",
        (CREATE,),
        mutate=rules_lifecycle.mutate_clone,
    ),
    Webhook(
        "vm-clone-validator.kubevirt.io",
        "clone.kubevirt.io",
        "virtualmachineclones",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_clone,
    ),
    Webhook(
        "virtualmachineexport-validator.export.kubevirt.io",
        "export.kubevirt.io",
        "virtualmachineexports",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_export,
    ),
    Webhook(
        "virtualmachinebackup-validator.backup.kubevirt.io",
        "backup.kubevirt.io",
        "virtualmachinebackups",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_backup,
    ),
    *(
        Webhook(
            f"{resource.removesuffix('s')}-validator.instancetype.kubevirt.io",
            "instancetype.kubevirt.io",
            resource,
            (CREATE, UPDATE),
            validate=rules_lifecycle.validate_instancetype,
        )
        for resource in ("virtualmachineinstancetypes", "virtualmachineclusterinstancetypes")
    ),
    *(
        Webhook(
            f"{resource.removesuffix('s')}-validator.instancetype.kubevirt.io",
            "instancetype.kubevirt.io",
            resource,
            (CREATE, UPDATE),
            validate=rules_lifecycle.validate_preference,
        )
        for resource in ("virtualmachinepreferences", "virtualmachineclusterpreferences")
    ),
    Webhook(
        "migration-policy-validator.kubevirt.io",
        "migrations.kubevirt.io",
        "migrationpolicies",
        (CREATE, UPDATE),
        validate=rules_lifecycle.validate_policy,
    ),
    Webhook("pvc-mutate.cdi.kubevirt.io", "", "persistentvolumeclaims", (CREATE,), mutate=cdi_claims.mutate_claim),
    Webhook("datavolume-mutate.cdi.kubevirt.io", CDI, "datavolumes", (CREATE,), mutate=rules_cdi.mutate_data_volume),
    Webhook(
        "datavolume-validate.cdi.kubevirt.io",
        CDI,
        "datavolumes",
        (CREATE, UPDATE),
        validate=rules_cdi.validate_data_volume,
    ),
    Webhook(
        "dataimportcron-validate.cdi.kubevirt.io",
        CDI,
        "dataimportcrons",
        (CREATE, UPDATE),
        validate=rules_cdi.validate_cron,
    ),
    Webhook(
        "populator-validate.cdi.kubevirt.io",
        CDI,
        "volumeimportsources",
        (CREATE, UPDATE),
        validate=rules_cdi.validate_import_source,
    ),
    Webhook(
        "populator-validate.cdi.kubevirt.io",
        CDI,
        "volumeuploadsources",
        (CREATE, UPDATE),
        validate=rules_cdi.validate_upload_source,
    ),
    Webhook("cdi-validate.cdi.kubevirt.io", CDI, "cdis", (DELETE,), validate=rules_cdi.validate_cdi_delete),
    Webhook(
        "kubevirt-create-validator.kubevirt.io",
        KUBEVIRT,
        "kubevirts",
        (CREATE,),
        validate=rules_cluster.validate_kubevirt_create,
    ),
    Webhook(
        "kubevirt-update-validator.kubevirt.io",
        KUBEVIRT,
        "kubevirts",
        (UPDATE,),
        validate=rules_cluster.validate_kubevirt_update,
    ),
    Webhook(
        "virt-launcher-eviction-interceptor.kubevirt.io",
        "",
        "pods/eviction",
        (CREATE,),
        validate=eviction.validate_launcher,
    ),
    Webhook(
        "hotplug-pod-eviction-interceptor.kubevirt.io",
        "",
        "pods/eviction",
        (CREATE,),
        validate=eviction.validate_hotplug,
    ),
)

_BY_RESOURCE: dict[tuple[str, str], list[Webhook]] = {}
for _webhook in WEBHOOKS:
    _BY_RESOURCE.setdefault((_webhook.group, _webhook.resource), []).append(_webhook)


def of(request: AdmissionRequest) -> Iterator[Webhook]:
    """The webhooks that see this request, in order."""
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    for webhook in _BY_RESOURCE.get((request.group, resource), ()):
        if request.operation in webhook.operations:
            yield webhook

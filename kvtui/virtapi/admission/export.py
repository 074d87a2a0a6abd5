"""Exports of VMs, snapshots, claims and backups; backups themselves.

Source: life-cycle facts 4.1 and 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.kubevirt.backup import VirtualMachineBackup
from kvtui.virtapi.admission.causes import invalid
from kvtui.virtapi.admission.text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.kubevirt.export import VirtualMachineExport
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

SOURCES = {
    "VirtualMachineSnapshot": ("VMSnapshot", "snapshot.kubevirt.io"),
    "VirtualMachine": ("Virtual Machine", "kubevirt.io"),
    "VirtualMachineBackup": ("VirtualMachineBackup", "backup.kubevirt.io"),
}
"""Kinds with their names in messages and their groups."""
TEMPLATE = "VirtualMachineTemplate"
FINAL_BACKUP = ("Complete", "Failed")


def validate_export(export: VirtualMachineExport, *, templates: bool) -> Iterator[Cause]:
    """`templates`: whether VirtualMachineTemplates may be exported."""
    source = export.spec.source
    if source.kind == "PersistentVolumeClaim":
        if not source.name:
            yield invalid("PVC name must not be empty", "spec.source.name")
        if source.api_group:
            yield invalid("PVC API group must be missing or blank", "spec.source.APIGroup")
        return
    if source.kind == TEMPLATE and templates:
        return
    if source.kind not in SOURCES:
        yield invalid("invalid kind", "spec.source.kind")
        return
    name, group = SOURCES[source.kind]
    if not source.name:
        yield invalid(f"{name} name must not be empty", "spec.source.name")
    if source.api_group != group:
        short = "VM" if source.kind == "VirtualMachine" else name
        yield invalid(f"{short} API group must be {group}", "spec.source.APIGroup")


def validate_backup(backup: VirtualMachineBackup, namespace: str, view: ClusterView) -> Iterator[Cause]:
    """One at a time per source."""
    for other in view.all(VirtualMachineBackup, namespace):
        if other.metadata.name == backup.metadata.name:
            message = f"VirtualMachineBackup {quoted(other.metadata.name)} already exists"
            yield invalid(message, "metadata.name")
            return
        if other.spec.source == backup.spec.source and not is_done(other):
            message = f"VirtualMachineBackup {quoted(other.metadata.name)} in progress for source"
            yield invalid(message, "spec.source")
            return


def is_done(backup: VirtualMachineBackup) -> bool:
    return any(condition.type in FINAL_BACKUP and condition.status == "True" for condition in backup.status.conditions)

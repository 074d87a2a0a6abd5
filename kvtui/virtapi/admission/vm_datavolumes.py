"""Disks that a VM brings along: dataVolumeTemplates.

Source: control plane facts 5.2. Upstream writes "dataVolumeTemplate" in the paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.virtapi.admission.causes import Path, invalid, required
from kvtui.virtapi.admission.same import same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.cdi.datavolume import DataVolumeSpec
    from kvtui.api.kubevirt.vm import VirtualMachine, VirtualMachineSpec
    from kvtui.errors import Cause

EXTERNAL_CLASH = "External population is incompatible with Source and SourceRef"
NO_SOURCE = "Data volume should have either Source, SourceRef, or be externally populated"
NO_VALID_SOURCE = "Missing dataVolume valid source"


def validate_templates(spec: VirtualMachineSpec, field: Path) -> list[Cause]:
    """The first finding of each entry."""
    used = {volume.data_volume.name for volume in spec.template.spec.volumes if volume.data_volume is not None}
    used |= {
        volume.persistent_volume_claim.claim_name
        for volume in spec.template.spec.volumes
        if volume.persistent_volume_claim is not None
    }
    found: list[Cause] = []
    for position, template in enumerate(spec.data_volume_templates):
        own = field.child("dataVolumeTemplate").item(position)
        name = template.metadata.name if template.metadata is not None else ""
        first = next(_template(name, template.spec, own, used), None)
        if first is not None:
            found.append(first)
    return found


def _template(name: str, disk: DataVolumeSpec, own: Path, used: set[str]) -> Iterator[Cause]:
    if not name:
        at = own.child("name")
        yield required(f"'name' field must not be empty for DataVolumeTemplate entry {at}.", at)
    if disk.pvc is None and disk.storage is None:
        yield invalid("Missing Data volume PVC or Storage", own.child("PVC", "Storage"))
    if disk.pvc is not None and disk.storage is not None:
        message = "Duplicate storage definition, both target storage and target pvc defined"
        yield invalid(message, own.child("PVC", "Storage"))
    yield from _source(disk, own)
    if name not in used:
        yield required(f"DataVolumeTemplate entry {own} must be referenced in the VMI template's 'volumes' list", own)


def _source(disk: DataVolumeSpec, own: Path) -> Iterator[Cause]:
    stanzas = [stanza for stanza in (disk.pvc, disk.storage) if stanza is not None]
    external = any(stanza.data_source is not None or stanza.data_source_ref is not None for stanza in stanzas)
    if external:
        if disk.source is not None or disk.source_ref is not None:
            yield invalid(EXTERNAL_CLASH, own.child("source"))
        return
    if disk.source is None and disk.source_ref is None:
        yield invalid(NO_SOURCE, own.child("source", "sourceRef"))
    if disk.source is not None:
        sources = sum(getattr(disk.source, name) is not None for name in disk.source.__struct_fields__)
        if sources == 0:
            yield invalid(NO_VALID_SOURCE, own.child("source"))
        elif sources > 1:
            yield invalid("Multiple dataVolume sources", own.child("source"))


def validate_namespaces(vm: VirtualMachine, old: VirtualMachine | None, namespace: str) -> list[Cause]:
    """A VM's disks live where it lives; templates that were there before are not looked at again."""
    if old is not None and same(old.spec.data_volume_templates, vm.spec.data_volume_templates):
        return []
    found = []
    for position, template in enumerate(vm.spec.data_volume_templates):
        other = template.metadata.namespace if template.metadata is not None else ""
        if other and other != namespace:
            message = f"Embedded DataVolume namespace {other} differs from VM namespace {namespace}"
            found.append(invalid(message, f"spec.dataVolumeTemplates[{position}]"))
    return found

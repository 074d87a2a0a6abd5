"""DataVolumes. Each rule answers alone, but for those of externally populated volumes.

Source: CDI facts 2.4, rules 1 to 14, 26 and 27; cdi pkg/apiserver/webhooks/datavolume-validate.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.wire import evolve
from kvtui.virtapi.admission import amounts, cdi_sources
from kvtui.virtapi.admission.causes import Path, duplicate, invalid
from kvtui.virtapi.admission.same import same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.cdi.datavolume import DataVolume, DataVolumeSourceRef, DataVolumeSpec, StorageSpec
    from kvtui.api.core.parts import (
        PersistentVolumeClaimSpec,
        TypedLocalObjectReference,
        TypedObjectReference,
    )
    from kvtui.errors import Cause
    from kvtui.virtapi.admission.view import ClusterView

POPULATED_FOR = "cdi.kubevirt.io/storage.populatedFor"
CREATED_FOR = "cdi.kubevirt.io/createdForDataVolume"
ADOPTION = "cdi.kubevirt.io/allowClaimAdoption"
ADOPTION_GATE = "DataVolumeClaimAdoption"
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
TRUE = ("1", "t", "T", "true", "TRUE", "True")
SMALLEST = 2**20
"""Bytes."""
LONGEST_NAME = 253


def name_too_long(name: str, limit: int) -> list[Cause]:
    return [invalid(f"Name cannot be longer than {limit} characters")] if len(name) > limit else []


def validate(volume: DataVolume, old: DataVolume | None, namespace: str, view: ClusterView) -> list[Cause]:
    """`old` is None on create."""
    if old is not None:
        if not is_same_but_checkpoints(volume.spec, old.spec):
            return [duplicate("Cannot update DataVolume Spec", "DataVolume.Spec")]
        return []
    return (
        name_too_long(volume.metadata.name, LONGEST_NAME)
        or _claim(volume, namespace, view)
        or validate_spec(volume.spec, Path("spec"))
    )


def is_same_but_checkpoints(new: DataVolumeSpec, old: DataVolumeSpec) -> bool:
    """Warm imports get their checkpoints one after the other."""
    source = new.source
    if source is not None and new.checkpoints and (source.vddk is not None or source.imageio is not None):
        new = evolve(new, checkpoints=[], final_checkpoint=None)
        old = evolve(old, checkpoints=[], final_checkpoint=None)
    return same(new, old)


def _claim(volume: DataVolume, namespace: str, view: ClusterView) -> list[Cause]:
    """A claim of that name belongs to somebody else, unless it was made for this volume or may be taken over."""
    name = volume.metadata.name
    claim = view.find(PersistentVolumeClaim, namespace, name)
    if claim is None:
        return []
    if claim.metadata.annotations.get(POPULATED_FOR) == name or _may_adopt(volume, claim, view):
        return []
    owner = claim.metadata.controller
    if owner is not None and owner.kind == "DataVolume":
        return []
    return [duplicate(f"Destination PVC {namespace}/{name} already exists", "DataVolume.Name")]


def _may_adopt(volume: DataVolume, claim: PersistentVolumeClaim, view: ClusterView) -> bool:
    created_for = claim.metadata.annotations.get(CREATED_FOR)
    if created_for is not None and created_for == volume.metadata.uid:
        return False
    wish = volume.metadata.annotations.get(ADOPTION)
    if wish is not None:
        return wish in TRUE
    config = view.find(CDIConfig, "", "config")
    return config is not None and ADOPTION_GATE in config.spec.feature_gates


def validate_spec(spec: DataVolumeSpec, field: Path) -> list[Cause]:
    """The rules that also templates of import crons are held to."""
    first = next(_storage(spec, field), None)
    if first is not None:
        return [first]
    stanza = spec.pvc or spec.storage
    if stanza is not None and (stanza.data_source is not None or stanza.data_source_ref is not None):
        return list(_external(spec, stanza.data_source, stanza.data_source_ref, field))
    first = next(_population(spec, field), None)
    return [] if first is None else [first]


def _storage(spec: DataVolumeSpec, field: Path) -> Iterator[Cause]:
    if spec.pvc is None and spec.storage is None:
        yield invalid("Missing Data volume PVC", field.child("PVC"))
    if spec.pvc is not None and spec.storage is not None:
        message = "Duplicate storage definition, both target storage and target pvc defined"
        yield invalid(message, field.child("PVC", "Storage"))
    stanza = spec.pvc or spec.storage
    if stanza is None:
        return
    yield from _size(spec, stanza, field)
    yield from name_too_long(stanza.storage_class_name or "", LONGEST_NAME)
    modes, own = stanza.access_modes, field.child("PVC", "accessModes")
    if spec.pvc is not None and not modes:
        yield invalid("Required value: at least 1 access mode is required", own)
    if spec.pvc is not None and len(modes) > 1:
        yield invalid("PVC multiple accessModes", own)
    if any(mode not in ACCESS_MODES for mode in modes):
        supported = ", ".join(f'"{mode}"' for mode in ACCESS_MODES)
        yield invalid(f'Unsupported value: "{modes[0]}": supported values: {supported}', own)


def _size(spec: DataVolumeSpec, stanza: PersistentVolumeClaimSpec | StorageSpec, field: Path) -> Iterator[Cause]:
    name = "PVC" if spec.pvc is not None else "Storage"
    own = field.child(name, "resources", "requests", "size")
    size = stanza.resources.requests.get("storage") if stanza.resources is not None else None
    source = spec.source
    clones = spec.source_ref is not None or (
        source is not None and (source.pvc is not None or source.snapshot is not None)
    )
    if size is None:
        if spec.storage is None or not clones:
            yield invalid(f"{name} size is missing", own)
    elif amounts.value(size) <= 0:
        yield invalid(f"{name} size can't be equal or less than zero", own)
    elif amounts.value(size) < SMALLEST:
        yield invalid(f"{name} size should be at least 1MiB", own)


def _external(
    spec: DataVolumeSpec,
    source: TypedLocalObjectReference | None,
    ref: TypedObjectReference | None,
    field: Path,
) -> Iterator[Cause]:
    """Somebody else's populator fills the claim. An empty last member of a path prints as []."""
    if spec.source is not None or spec.source_ref is not None:
        yield invalid("External population is incompatible with Source and SourceRef", field.child("source"))
    if source is not None and ref is not None:
        yield invalid("DataSourceRef and DataSource must match")
    if source is not None:
        yield from _reference(source, "DataSource", field.child("dataSource"))
    if ref is not None:
        own = field.child("dataSourceRef")
        if ref.namespace:
            yield invalid("Invalid value: DataSourceRef namespace not supported", own.child("namespace[]"))
        yield from _reference(ref, "DataSourceRef", own)


def _reference(reference: TypedLocalObjectReference | TypedObjectReference, what: str, field: Path) -> Iterator[Cause]:
    if not reference.name:
        yield invalid(f"Required value: {what} name", field.child("name[]"))
    if not reference.kind:
        yield invalid(f"Required value: {what} kind", field.child("kind"))
    if not reference.api_group and reference.kind != "PersistentVolumeClaim":
        message = f"Required value: {what} apiGroup when kind is not 'PersistentVolumeClaim'"
        yield invalid(message, field.child("apiGroup[]"))


def _population(spec: DataVolumeSpec, field: Path) -> Iterator[Cause]:
    if (spec.source is None) == (spec.source_ref is None):
        message = "Data volume should have either Source or SourceRef, or be externally populated"
        yield invalid(message, field.child("source"))
    if spec.source_ref is not None:
        yield from _source_ref(spec.source_ref, field.child("sourceRef"))
        return
    yield from cdi_sources.validate_count(spec.source, "Data volume", field)
    yield from cdi_sources.validate_content_type(spec.content_type, field)
    if spec.source is not None:
        yield from cdi_sources.validate_source(spec.source, spec.content_type or "", field)


def _source_ref(ref: DataVolumeSourceRef, field: Path) -> Iterator[Cause]:
    if not ref.kind:
        yield invalid("Missing sourceRef kind", field.child("Kind"))
    elif ref.kind != "DataSource":
        message = f"Unsupported sourceRef kind {ref.kind}, currently only DataSource is supported"
        yield invalid(message, field.child("Kind"))
    if not ref.name:
        yield invalid("Missing sourceRef name", field.child("Name"))

"""From a DataVolume to its PersistentVolumeClaim: class, modes and size.

Source: containerized-data-importer pkg/controller/datavolume/util.go; cdi facts 2.2 and 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kvtui.api import quantity
from kvtui.api.cdi.config import CDIConfig
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.core.parts import PersistentVolumeClaimSpec, VolumeResourceRequirements
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.meta import ObjectMeta
from kvtui.api.registry import owner_reference
from kvtui.api.wire import evolve
from kvtui.controllers.datavolume import names
from kvtui.controllers.datavolume.profiles import Sets, sets_of
from kvtui.errors import Permanent

MIB = 2**20
DEFAULT_OVERHEAD = 0.06


class ClaimNotValid(Permanent):
    """The claim cannot be rendered; it can when classes or profiles change."""

    reason = "ErrClaimNotValid"


@dataclass(frozen=True, slots=True)
class Classes:
    """What the server knows of storage."""

    classes: tuple[StorageClass, ...]
    config: CDIConfig | None = None
    profiles: tuple[StorageProfile, ...] = ()

    def sets(self, storage_class: StorageClass) -> Sets:
        """Modes that go together, the first being the default."""
        name = storage_class.metadata.name
        return sets_of(next((p for p in self.profiles if p.metadata.name == name), None), storage_class)

    def named(self, name: str) -> StorageClass | None:
        return next((c for c in self.classes if c.metadata.name == name), None)

    def default(self, *, virt: bool) -> StorageClass | None:
        """The virt default, else the cluster's; of several the newest, then the first by name."""
        for key in (names.DEFAULT_VIRT_CLASS, names.DEFAULT_CLASS) if virt else (names.DEFAULT_CLASS,):
            found = [c for c in self.classes if c.metadata.annotations.get(key) == "true"]
            if found:
                by_name = sorted(found, key=lambda c: c.metadata.name)
                return max(by_name, key=lambda c: c.metadata.creation_timestamp or "")
        return None

    def overhead(self, class_name: str) -> float:
        """Share of a Filesystem claim that its file system needs."""
        configured = self.config.spec.filesystem_overhead if self.config is not None else None
        if configured is None:
            return DEFAULT_OVERHEAD
        text = configured.storage_class.get(class_name) or configured.global_
        try:
            return float(text) if text else DEFAULT_OVERHEAD
        except ValueError:
            return DEFAULT_OVERHEAD


def inflated(size: int, overhead: float) -> int:
    """Bytes of a Filesystem claim that leave `size` for the disk: 1 GiB with 0.06 is 1138166334."""
    return math.ceil(-(-size // MIB) * MIB * (1 + overhead))


def render(dv: DataVolume, classes: Classes, source_size: int | None = None) -> PersistentVolumeClaim:
    """The claim of a DataVolume. `source_size`: bytes, for clones that ask for none. Raises ClaimNotValid."""
    if dv.spec.pvc is not None:
        spec = dv.spec.pvc
    elif dv.spec.storage is not None:
        spec = _from_storage(dv, classes, source_size)
    else:
        raise ClaimNotValid("Missing Data volume PVC")
    content = dv.spec.content_type or "kubevirt"
    annotations = {
        **dv.metadata.annotations,
        names.CONTENT_TYPE: content,
        names.POD_RESTARTS: "0",
        names.USE_POPULATOR: "false",
        **_source_annotations(dv),
    }
    annotations.pop(names.POPULATED_FOR, None)
    labels = {**dv.metadata.labels, **names.APP, **names.COMPONENT}
    if (spec.volume_mode or "Filesystem") == "Filesystem":
        labels["alerts.k8s.io/KubePersistentVolumeFillingUp"] = "disabled"
    metadata = ObjectMeta(
        name=dv.metadata.name,
        namespace=dv.metadata.namespace,
        labels=labels,
        annotations=annotations,
        owner_references=[owner_reference(dv)],
    )
    return PersistentVolumeClaim(metadata=metadata, spec=spec)


def requested(claim: PersistentVolumeClaim) -> int:
    """Bytes asked for."""
    wanted = claim.spec.resources.requests.get("storage", "0") if claim.spec.resources is not None else "0"
    return quantity.value(wanted)


def _from_storage(dv: DataVolume, classes: Classes, source_size: int | None) -> PersistentVolumeClaimSpec:
    storage = dv.spec.storage
    assert storage is not None
    archive = dv.spec.content_type == "archive"
    name = storage.storage_class_name
    chosen = classes.named(name) if name else classes.default(virt=not archive)
    if name and chosen is None:
        raise ClaimNotValid(f"StorageClass {name} does not exist")
    modes, volume_mode = list(storage.access_modes), storage.volume_mode
    if archive:
        if volume_mode == "Block":
            raise ClaimNotValid("archive content cannot have volumeMode Block")
        volume_mode = "Filesystem"
    if not modes and chosen is None:
        raise ClaimNotValid("PVC spec is missing accessMode and no storageClass to choose profile")
    sets = classes.sets(chosen) if chosen is not None else ()
    modes, volume_mode = _modes(modes, volume_mode, sets, chosen.metadata.name if chosen else "")
    size = _size(storage.resources, source_size)
    class_name = chosen.metadata.name if chosen is not None else ""
    if volume_mode != "Block":
        size = inflated(size, classes.overhead(class_name))
    return PersistentVolumeClaimSpec(
        access_modes=modes,
        volume_mode=volume_mode,
        storage_class_name=class_name or None,
        volume_name=storage.volume_name,
        selector=storage.selector,
        data_source=storage.data_source,
        data_source_ref=storage.data_source_ref,
        resources=VolumeResourceRequirements(requests={"storage": quantity.binary(size)}),
    )


def _modes(
    modes: list[str], volume_mode: str | None, sets: Iterable[tuple[tuple[str, ...], str]], class_name: str
) -> tuple[list[str], str | None]:
    known = list(sets)
    if not modes and volume_mode is None:
        if not known:
            raise ClaimNotValid(
                "Spec is missing accessMode and volumeMode, cannot get access mode from StorageProfile " + class_name
            )
        return list(known[0][0]), known[0][1]
    if not modes:
        fitting = next((m for m, v in known if v == volume_mode), None)
        if fitting is None:
            raise ClaimNotValid(
                f"Spec is missing accessMode and cannot get access mode from StorageProfile {class_name}"
            )
        return list(fitting), volume_mode
    if volume_mode is None:
        volume_mode = next((v for m, v in known if set(m) & set(modes)), None)
    return modes, volume_mode


def _size(resources: VolumeResourceRequirements | None, source_size: int | None) -> int:
    wanted = resources.requests.get("storage") if resources is not None else None
    if wanted is not None:
        return quantity.value(wanted)
    if source_size is None:
        raise ClaimNotValid("Storage size is missing")
    return source_size


def _source_annotations(dv: DataVolume) -> dict[str, str]:
    source = dv.spec.source
    if source is None:
        return {}
    if source.http is not None:
        return {names.IMPORT_SOURCE: "http", names.IMPORT_ENDPOINT: source.http.url or ""}
    if source.registry is not None:
        return {names.IMPORT_SOURCE: "registry", names.IMPORT_ENDPOINT: source.registry.url or ""}
    if source.s3 is not None:
        return {names.IMPORT_SOURCE: "s3", names.IMPORT_ENDPOINT: source.s3.url or ""}
    if source.blank is not None:
        return {names.IMPORT_SOURCE: "none"}
    if source.pvc is not None:
        return {names.CLONE_REQUEST: f"{source.pvc.namespace}/{source.pvc.name}", names.CLONE_TYPE: "copy"}
    if source.upload is not None:
        return {names.UPLOAD_TARGET: ""}
    return {}


def with_preallocation(claim: PersistentVolumeClaim, *, wanted: bool) -> PersistentVolumeClaim:
    annotations = {**claim.metadata.annotations, names.PREALLOCATION_REQUESTED: "true" if wanted else "false"}
    return evolve(claim, metadata=evolve(claim.metadata, annotations=annotations))

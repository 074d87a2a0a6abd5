"""PersistentVolumes, claims and StorageClasses: defaults and what may not change.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/,
https://kubernetes.io/docs/concepts/storage/storage-classes/.
"""

from __future__ import annotations

from typing import Any

from kvtui.api import quantity
from kvtui.apiserver import status
from kvtui.apiserver.strategy import Strategy, WriteContext
from kvtui.errors import Cause, InvalidQuantity

Object = dict[str, Any]
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
PVC_PROTECTION = "kubernetes.io/pvc-protection"
PV_PROTECTION = "kubernetes.io/pv-protection"
_CLAIM_IMMUTABLE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)


def _spec(obj: Object) -> Object:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _storage(quantities: object) -> object:
    return quantities.get("storage") if isinstance(quantities, dict) else None


def _mode_causes(spec: Object) -> list[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [status.required("spec.accessModes", "at least 1 access mode is required")]
    return [status.not_supported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]


def _quantity_causes(value: object, field: str) -> list[Cause]:
    if value is None:
        return [status.required(field)]
    try:
        amount = quantity.value(value)  # type: ignore[arg-type]
    except (InvalidQuantity, TypeError) as error:
        return [status.invalid_value(field, value, str(error))]
    return [] if amount > 0 else [status.invalid_value(field, value, "must be greater than zero")]


class Claims(Strategy):
    """PersistentVolumeClaims."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict) and not spec.get("volumeMode"):
            spec["volumeMode"] = "Filesystem"

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {"phase": "Pending"}
        spec = _spec(obj)
        if isinstance(spec.get("dataSource"), dict) and not spec.get("dataSourceRef"):
            spec["dataSourceRef"] = dict(spec["dataSource"])
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if PVC_PROTECTION not in finalizers:
            finalizers.append(PVC_PROTECTION)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = _spec(obj)
        causes = _mode_causes(spec)
        resources = spec.get("resources")
        request = _storage((resources if isinstance(resources, dict) else {}).get("requests"))
        causes += _quantity_causes(request, "spec.resources[storage]")
        if spec.get("volumeMode") not in ("Block", "Filesystem"):
            causes.append(status.not_supported("spec.volumeMode", spec.get("volumeMode"), ("Block", "Filesystem")))
        if old is not None and not causes:
            causes += self._change_causes(spec, _spec(old))
        return causes

    def _change_causes(self, spec: Object, before: Object) -> list[Cause]:
        new, old = dict(spec), dict(before)
        wanted = _storage((new.pop("resources", None) or {}).get("requests"))
        had = _storage((old.pop("resources", None) or {}).get("requests"))
        for key in ("volumeName", "storageClassName"):
            if not old.get(key):  # the binder fills these in once
                new.pop(key, None)
                old.pop(key, None)
        for key in ("volumeAttributesClassName", "dataSourceRef", "dataSource"):
            new.pop(key, None)
            old.pop(key, None)
        if new != old:
            return [status.forbidden_field("spec", _CLAIM_IMMUTABLE)]
        if wanted is not None and had is not None and quantity.value(wanted) < quantity.value(had):  # type: ignore[arg-type]
            return [
                status.forbidden_field("spec.resources.requests.storage", "field can not be less than status.capacity")
            ]
        return []


class Volumes(Strategy):
    """PersistentVolumes."""

    def default(self, obj: Object) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict):
            spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
            spec.setdefault("volumeMode", "Filesystem")

    def prepare_create(self, obj: Object, context: WriteContext) -> None:
        obj["status"] = {"phase": "Pending"}
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if PV_PROTECTION not in finalizers:
            finalizers.append(PV_PROTECTION)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = _spec(obj)
        causes = _mode_causes(spec)
        causes += _quantity_causes(_storage(spec.get("capacity")), "spec.capacity[storage]")
        policy = spec.get("persistentVolumeReclaimPolicy")
        if policy not in ("Delete", "Recycle", "Retain"):
            causes.append(
                status.not_supported("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
            )
        return causes


class Classes(Strategy):
    """StorageClasses."""

    def default(self, obj: Object) -> None:
        obj.setdefault("reclaimPolicy", "Delete")
        obj.setdefault("volumeBindingMode", "Immediate")

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        if not obj.get("provisioner"):
            return [status.required("provisioner")]
        if old is None:
            return []
        return [
            status.forbidden_field(key, f"updates to {key} are forbidden.")
            for key in ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
            if (obj.get(key) or None) != (old.get(key) or None)
        ]

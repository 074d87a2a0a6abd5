"""metadata: what the server sets, what a client may not change, what is checked.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#metadata,
k8s.io/apimachinery/pkg/api/validation/objectmeta.go.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver import names, status
from kvtui.apiserver.resources import ResourceInfo
from kvtui.errors import Cause

Object = dict[str, Any]
FINALIZER_ORPHAN = "orphan"
FINALIZER_FOREGROUND = "foregroundDeletion"
_KNOWN = frozenset(
    (
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "clusterName",
    )
)
_STRINGS = ("name", "generateName", "namespace", "uid", "resourceVersion")
_STRING_MAPS = ("labels", "annotations")
_EMPTY_DROPPED = ("labels", "annotations", "finalizers", "ownerReferences", "managedFields", "generateName", "name")


def coerce(obj: Object) -> Object:
    """Makes sure that metadata has its types; returns it. Drops nulls and empty values. Raises Failure 400."""
    meta = obj.get("metadata")
    if meta is None:
        meta = obj["metadata"] = {}
    if not isinstance(meta, dict):
        raise status.bad_request("metadata must be an object")
    for key in [k for k, v in meta.items() if v is None]:
        del meta[key]
    for key in _STRINGS:
        if not isinstance(meta.get(key, ""), str):
            raise status.bad_request(f"metadata.{key} must be a string")
    for key in _STRING_MAPS:
        _coerce_map(meta, key)
    _coerce_lists(meta)
    for key in _EMPTY_DROPPED:
        if not meta.get(key, True):
            del meta[key]
    return meta


def drop_unknown(meta: Object) -> list[str]:
    """Removes fields that metadata does not have; returns their paths."""
    unknown = [key for key in meta if key not in _KNOWN]
    for key in unknown:
        del meta[key]
    return [f"metadata.{key}" for key in unknown]


def _coerce_map(meta: Object, key: str) -> None:
    value = meta.get(key)
    if value is None:
        return
    if not isinstance(value, dict):
        raise status.bad_request(f"metadata.{key} must be an object with string values")
    for name, text in list(value.items()):
        if text is None:
            value[name] = ""
        elif not isinstance(text, str):
            raise status.bad_request(f"metadata.{key}[{name}] must be a string")


def _coerce_lists(meta: Object) -> None:
    for key in ("finalizers", "ownerReferences", "managedFields"):
        value = meta.get(key)
        if value is None:
            continue
        wanted = str if key == "finalizers" else dict
        if not isinstance(value, list) or not all(isinstance(item, wanted) for item in value):
            raise status.bad_request(f"metadata.{key} has the wrong type")
    for owner in meta.get("ownerReferences") or ():
        for key in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner.get(key, ""), str):
                raise status.bad_request(f"metadata.ownerReferences.{key} must be a string")


def check_identity(info: ResourceInfo, obj: Object, namespace: str, name: str) -> None:
    """The namespace and name of a body against those of the URL. Raises Failure 400."""
    meta = obj["metadata"]
    given = meta.get("namespace", "")
    if info.namespaced:
        if given and given != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = namespace
    elif given:
        raise status.bad_request("namespace may not be set on a cluster-scoped object")
    else:
        meta.pop("namespace", None)
    if name:
        given = meta.get("name", "")
        if given and given != name:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        meta["name"] = name


def prepare_create(info: ResourceInfo, obj: Object, now: datetime) -> None:
    """Server-made fields of a new object. Raises Failure 400."""
    meta = obj["metadata"]
    if meta.get("resourceVersion"):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for key in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "clusterName"):
        meta.pop(key, None)
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = to_time(now)
    if info.generation:
        meta["generation"] = 1
    else:
        meta.pop("generation", None)


def prepare_update(info: ResourceInfo, obj: Object, old: Object) -> None:
    """What an update may not change is carried over; metadata.uid and the like must agree. Raises Failure 409."""
    meta, before = obj["metadata"], old["metadata"]
    uid = meta.get("uid")
    if uid and uid != before.get("uid"):
        raise status.uid_mismatch(info.group, info.plural, before["name"], uid, before.get("uid", ""))
    for key in ("selfLink", "clusterName"):
        meta.pop(key, None)
    kept = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "generation")
    for key in kept:
        if key in before:
            meta[key] = before[key]
        else:
            meta.pop(key, None)


def bump_generation(info: ResourceInfo, obj: Object, old: Object) -> None:
    """generation + 1 when something outside metadata (and status) changed."""
    if not info.generation:
        return
    ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if info.status else set())
    changed = any(obj.get(key) != old.get(key) for key in (obj.keys() | old.keys()) - ignored)
    if changed:
        obj["metadata"]["generation"] = int(old["metadata"].get("generation", 0)) + 1


def validate(info: ResourceInfo, obj: Object, old: Object | None) -> list[Cause]:
    """Everything that is wrong with the metadata."""
    meta = obj["metadata"]
    causes: list[Cause] = []
    if old is None:
        causes += _name_causes(info, meta)
    if labels := meta.get("labels"):
        causes += names.label_causes(labels, "metadata.labels")
    if annotations := meta.get("annotations"):
        causes += names.annotation_causes(annotations, "metadata.annotations")
    causes += _finalizer_causes(meta, old)
    causes += _owner_causes(meta)
    return causes


def _name_causes(info: ResourceInfo, meta: Object) -> list[Cause]:
    name = meta.get("name", "")
    if not name:
        return [status.required("metadata.name", "name or generateName is required")]
    error = names.name_error(info.name_rule, name)
    return [status.invalid_value("metadata.name", name, error)] if error else []


def _finalizer_causes(meta: Object, old: Object | None) -> list[Cause]:
    finalizers: list[str] = meta.get("finalizers") or []
    causes = [
        status.invalid_value("metadata.finalizers", finalizer, error)
        for finalizer in finalizers
        if (error := names.qualified_error(finalizer))
    ]
    if FINALIZER_ORPHAN in finalizers and FINALIZER_FOREGROUND in finalizers:
        causes.append(
            status.invalid_value(
                "metadata.finalizers", finalizers, "finalizer orphan and foregroundDeletion cannot be both set"
            )
        )
    if old is not None and old["metadata"].get("deletionTimestamp"):
        added = sorted(set(finalizers) - set(old["metadata"].get("finalizers") or []))
        if added:
            listed = ", ".join(f'"{f}"' for f in added)
            causes.append(
                status.forbidden_field(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, found new finalizers "
                    f"[]string{{{listed}}}",
                )
            )
    return causes


def _owner_causes(meta: Object) -> list[Cause]:
    causes: list[Cause] = []
    controllers = 0
    for owner in meta.get("ownerReferences") or ():
        causes += [
            status.invalid_value(f"metadata.ownerReferences.{key}", owner.get(key, ""), f"{key} must not be empty")
            for key in ("apiVersion", "kind", "name", "uid")
            if not owner.get(key)
        ]
        controllers += bool(owner.get("controller"))
    if controllers > 1:
        causes.append(
            status.invalid_value(
                "metadata.ownerReferences",
                meta["ownerReferences"],
                "Only one reference can have Controller set to true.",
            )
        )
    return causes

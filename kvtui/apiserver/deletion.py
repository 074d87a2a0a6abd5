"""Deleting objects: preconditions, finalizers, grace, propagation.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/,
k8s.io/apiserver/pkg/registry/rest/delete.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kvtui.api.times import from_time, to_time
from kvtui.apiserver import crd, status
from kvtui.apiserver.database import Change
from kvtui.apiserver.metadata import FINALIZER_FOREGROUND, FINALIZER_ORPHAN
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import DeleteOptions, WriteOptions
from kvtui.apiserver.parts import is_finished
from kvtui.apiserver.record import Record, encode
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.store import Stale

Object = dict[str, Any]
_ATTEMPTS = 6
_PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
PROTECTED_NAMESPACES = ("default", "kube-system", "kube-public")


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion left behind: the object while it still waits, or its last state."""

    record: Record
    gone: bool


async def delete(
    objects: Objects,
    info: ResourceInfo,
    namespace: str,
    name: str,
    options: DeleteOptions,
    write: WriteOptions,
) -> Deleted:
    """Deletes an object, or starts to. Raises Failure 403, 404, 409."""
    bucket = objects.bucket(info)
    key = (namespace, name)
    for _ in range(_ATTEMPTS):
        record = bucket.get_latest(key)
        if record is None:
            raise status.not_found(info.group, info.plural, name)
        if info.bucket == "namespaces" and name in PROTECTED_NAMESPACES:
            raise status.forbidden("", "namespaces", name, "this namespace may not be deleted")
        _check_preconditions(info, record, options)
        await objects.admit_delete(info, record, write)
        if bucket.get_latest(key) is not record:
            continue
        obj = record.decode()
        before = encode(obj)
        mark(info, obj, options, objects.clock())
        if is_finished(obj):
            if write.dry_run:
                return Deleted(record, gone=True)
            change = Change.DELETED
        elif encode(obj) == before:
            return Deleted(record, gone=False)
        elif write.dry_run:
            return Deleted(Record(record.rv, namespace, name, encode(obj)), gone=False)
        else:
            change = Change.UPDATED
        try:
            future = objects.store.submit(bucket, key, change, obj, expected=record)
        except Stale:
            continue
        return Deleted(await future, gone=change is Change.DELETED)
    raise status.conflict(info.group, info.plural, name)


def _check_preconditions(info: ResourceInfo, record: Record, options: DeleteOptions) -> None:
    if options.uid is not None and options.uid != (found := record.uid):
        raise status.conflict(
            info.group,
            info.plural,
            record.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({found}). The object "
            "might have been deleted and then recreated",
        )
    if options.resource_version is not None and options.resource_version != str(record.rv):
        raise status.conflict(
            info.group,
            info.plural,
            record.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({record.rv}). The object might have been modified",
        )


def mark(info: ResourceInfo, obj: Object, options: DeleteOptions, now: Any) -> None:
    """Sets what a deletion sets: timestamp, grace, finalizers of the propagation policy."""
    meta = obj["metadata"]
    grace = info.strategy.grace_period(obj, options.grace_seconds)
    if meta.get("deletionTimestamp"):
        # Only a shorter grace period changes an object that is already on its way out.
        current = int(meta.get("deletionGracePeriodSeconds") or 0)
        if grace < current:
            deadline = from_time(meta["deletionTimestamp"]) - timedelta(seconds=current - grace)
            meta["deletionTimestamp"] = to_time(deadline)
            meta["deletionGracePeriodSeconds"] = grace
        return
    _set_finalizers(meta, options)
    meta["deletionTimestamp"] = to_time(now + timedelta(seconds=grace))
    meta["deletionGracePeriodSeconds"] = grace
    if info.generation:
        meta["generation"] = int(meta.get("generation", 0)) + 1
    if info.bucket == "namespaces":
        obj.setdefault("status", {})["phase"] = "Terminating"
    if info.bucket == "customresourcedefinitions.apiextensions.k8s.io":
        crd.set_condition(obj, "Terminating", "True", "InstanceDeletionPending", _PENDING, to_time(now))


def _set_finalizers(meta: Object, options: DeleteOptions) -> None:
    present: list[str] = meta.get("finalizers") or []
    if options.orphan is not None:
        policy = FINALIZER_ORPHAN if options.orphan else ""
    elif options.propagation is not None:
        policy = {"Orphan": FINALIZER_ORPHAN, "Foreground": FINALIZER_FOREGROUND, "Background": ""}[options.propagation]
    else:
        policy = next((f for f in present if f in (FINALIZER_ORPHAN, FINALIZER_FOREGROUND)), "")
    finalizers = [f for f in present if f not in (FINALIZER_ORPHAN, FINALIZER_FOREGROUND)]
    if policy:
        finalizers.append(policy)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)

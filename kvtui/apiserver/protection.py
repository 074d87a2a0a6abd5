"""Volumes and claims in use are kept: their protection finalizers go when nothing needs them any more.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import bootstrap
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.kinds.storage import PV_PROTECTION, PVC_PROTECTION
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.record import Record
from kvtui.apiserver.store import Bucket, Event

Object = dict[str, Any]
_CLAIMS, _VOLUMES, _PODS = "persistentvolumeclaims", "persistentvolumes", "pods"
Place = tuple[str, str, str]
"""Bucket, namespace, name."""


class VolumeProtection:
    """Removes protection finalizers from terminating claims and volumes."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._backlog: Backlog[Place] = Backlog("volume protection")

    async def run(self) -> None:
        store = self._objects.store
        store.listeners.append(self._changed)
        try:
            for name in (_CLAIMS, _VOLUMES):
                for record in store.bucket(name).snapshot():
                    self._consider(name, record)
            await self._backlog.work(self._release)
        finally:
            store.listeners.remove(self._changed)

    def _consider(self, bucket: str, record: Record) -> None:
        if b'"deletionTimestamp"' in record.data:
            self._backlog.add((bucket, record.namespace, record.name))

    def _changed(self, bucket: Bucket, event: Event) -> None:
        if bucket.name in (_CLAIMS, _VOLUMES):
            self._consider(bucket.name, event.record)
        elif bucket.name == _PODS:
            for claim in claims_of(event.record.decode()):
                record = self._objects.store.bucket(_CLAIMS).get((event.record.namespace, claim))
                if record is not None:
                    self._consider(_CLAIMS, record)

    async def _release(self, place: Place) -> None:
        bucket, namespace, name = place
        record = self._objects.store.bucket(bucket).get_latest((namespace, name))
        info = self._objects.resources.stored(bucket)
        if record is None or info is None or not record.head().deletion_timestamp:
            return
        finalizer = PVC_PROTECTION if bucket == _CLAIMS else PV_PROTECTION
        if finalizer not in (record.head().finalizers or ()):
            return
        if self._in_use(record) if bucket == _CLAIMS else _is_bound(record):
            return

        def change(obj: Object) -> Object:
            obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            return obj

        await self._objects.update(info, namespace, name, change, bootstrap.options())

    def _in_use(self, claim: Record) -> bool:
        mark = b'"' + claim.name.encode() + b'"'
        for record in self._objects.store.bucket(_PODS).scan(claim.namespace):
            if mark not in record.data and b'"ephemeral"' not in record.data:
                continue  # without a closer look: a namespace may have thousands
            pod = record.decode()
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed") and claim.name in claims_of(pod):
                return True
        return False


def _is_bound(volume: Record) -> bool:
    return (volume.decode().get("status") or {}).get("phase") == "Bound"


def claims_of(pod: Object) -> set[str]:
    """The claims that a Pod mounts."""
    names: set[str] = set()
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        claim = volume.get("persistentVolumeClaim") if isinstance(volume, dict) else None
        if isinstance(claim, dict) and claim.get("claimName"):
            names.add(claim["claimName"])
        elif isinstance(volume, dict) and isinstance(volume.get("ephemeral"), dict):
            names.add(f"{pod['metadata']['name']}-{volume.get('name')}")
    return names

"""Garbage collection: objects go with their owners.

An index from owner uid to dependants follows every committed change; nothing is polled and nothing is asked over HTTP.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/,
k8s.io/kubernetes/pkg/controller/garbagecollector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from kvtui.apiserver import bootstrap, deletion
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.database import Change
from kvtui.apiserver.metadata import FINALIZER_FOREGROUND, FINALIZER_ORPHAN
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.options import DeleteOptions
from kvtui.apiserver.record import MetaHead, OwnerHead, Record
from kvtui.apiserver.resources import ResourceInfo
from kvtui.apiserver.store import Bucket, Event, Key

Object = dict[str, Any]
Place = tuple[str, Key]
"""Bucket and key."""
_SLICE = 500


class _Owner(Enum):
    SOLID = auto()
    WAITING = auto()
    """In foreground deletion: waits for its dependants."""
    ABSENT = auto()


class GarbageCollector:
    """Deletes dependants of absent owners, and finishes foreground and orphaning deletions."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._dependants: dict[str, set[Place]] = {}
        self._places: dict[str, Place] = {}
        """uid -> where the object is."""
        self._backlog: Backlog[Place] = Backlog("garbage collection")

    async def run(self) -> None:
        """Indexes everything, then collects until cancelled."""
        store = self._objects.store
        store.listeners.append(self._changed)
        try:
            for bucket in store.buckets:
                for number, record in enumerate(bucket.snapshot()):
                    if bucket.get(record.key) is record:
                        self._index(bucket.name, record, record.head())
                    if number % _SLICE == _SLICE - 1:
                        await asyncio.sleep(0)
            for places in list(self._dependants.values()):
                for place in places:
                    self._backlog.add(place)
            await self._backlog.work(self._handle)
        finally:
            store.listeners.remove(self._changed)

    def _index(self, bucket: str, record: Record, head: MetaHead) -> None:
        place = (bucket, record.key)
        self._places[head.uid] = place
        for owner in head.owner_references or ():
            self._dependants.setdefault(owner.uid, set()).add(place)
        if head.deletion_timestamp and head.finalizers:
            self._backlog.add(place)

    def _changed(self, bucket: Bucket, event: Event) -> None:
        place = (bucket.name, event.record.key)
        head = event.record.head()
        before = event.previous.head() if event.previous is not None else None
        old_owners = {o.uid for o in (before.owner_references if before else None) or ()}
        new_owners = {o.uid for o in head.owner_references or ()}
        if event.change is Change.DELETED:
            self._forget(place, head, old_owners | new_owners)
            return
        if event.change is Change.CREATED and before is not None and before.uid != head.uid:
            self._forget(place, before, old_owners)
        self._index(bucket.name, event.record, head)
        for uid in old_owners - new_owners:
            self._drop(uid, place)
        if new_owners and (new_owners != old_owners or event.change is Change.CREATED or head.deletion_timestamp):
            self._backlog.add(place)
        for uid in old_owners | new_owners:
            self._recheck_waiting(uid)

    def _forget(self, place: Place, head: MetaHead, owners: set[str]) -> None:
        if self._places.get(head.uid) == place:
            del self._places[head.uid]
        for uid in owners:
            self._drop(uid, place)
            self._recheck_waiting(uid)
        for dependant in self._dependants.get(head.uid, ()):
            self._backlog.add(dependant)

    def _drop(self, uid: str, place: Place) -> None:
        places = self._dependants.get(uid)
        if places is not None:
            places.discard(place)
            if not places:
                del self._dependants[uid]

    def _recheck_waiting(self, uid: str) -> None:
        place = self._places.get(uid)
        if place is None:
            return
        record = self._record(place)
        if record is not None and b'"deletionTimestamp"' in record.data:
            self._backlog.add(place)

    def _record(self, place: Place) -> Record | None:
        return self._objects.store.bucket(place[0]).get_latest(place[1])

    async def _handle(self, place: Place) -> None:
        record = self._record(place)
        info = self._objects.resources.stored(place[0])
        if record is None or info is None:
            return
        head = record.head()
        finalizers = head.finalizers or []
        if head.deletion_timestamp and FINALIZER_ORPHAN in finalizers:
            await self._orphan(info, record, head)
            return
        if head.deletion_timestamp and FINALIZER_FOREGROUND in finalizers:
            await self._finish_foreground(info, record, head)
            return
        if head.owner_references:
            await self._judge(info, record, head)

    async def _orphan(self, info: ResourceInfo, record: Record, head: MetaHead) -> None:
        for place in list(self._dependants.get(head.uid, ())):
            await self._strip(place, {head.uid})
        await self._remove_finalizer(info, record, FINALIZER_ORPHAN)

    async def _finish_foreground(self, info: ResourceInfo, record: Record, head: MetaHead) -> None:
        blocking = False
        for place in self._dependants.get(head.uid, ()):
            dependant = self._record(place)
            if dependant is None:
                continue
            self._backlog_dependant(place, dependant)
            refs = dependant.head().owner_references or ()
            if any(r.uid == head.uid and r.block_owner_deletion for r in refs):
                blocking = blocking or not self._waits_in_circle(head.uid, dependant)
        if not blocking:
            await self._remove_finalizer(info, record, FINALIZER_FOREGROUND)

    def _backlog_dependant(self, place: Place, dependant: Record) -> None:
        head = dependant.head()
        if not (head.deletion_timestamp and FINALIZER_FOREGROUND in (head.finalizers or ())):
            self._backlog.add(place)

    def _waits_in_circle(self, uid: str, dependant: Record) -> bool:
        """Whether a dependant is itself waiting, in the end, for this owner."""
        seen: set[str] = set()
        pending = [dependant]
        while pending:
            record = pending.pop()
            head = record.head()
            if not head.deletion_timestamp or FINALIZER_FOREGROUND not in (head.finalizers or ()):
                continue
            if head.uid == uid:
                return True
            if head.uid in seen:
                continue
            seen.add(head.uid)
            pending += [r for p in self._dependants.get(head.uid, ()) if (r := self._record(p)) is not None]
        return False

    async def _judge(self, info: ResourceInfo, record: Record, head: MetaHead) -> None:
        states: dict[str, _Owner] = {}
        for owner in head.owner_references or ():
            states[owner.uid] = self._owner_state(owner, record)
        solid = [u for u, s in states.items() if s is _Owner.SOLID]
        others = {u for u, s in states.items() if s is not _Owner.SOLID}
        if not others:
            return
        if solid:
            await self._strip((info.bucket, record.key), others)
            return
        if head.deletion_timestamp:
            return
        policy = None
        if any(s is _Owner.WAITING for s in states.values()) and self._dependants.get(head.uid):
            policy = "Foreground"
        elif not any(f in (FINALIZER_ORPHAN, FINALIZER_FOREGROUND) for f in head.finalizers or ()):
            policy = "Background"
        options = DeleteOptions(uid=head.uid, propagation=policy)  # type: ignore[arg-type]
        await deletion.delete(self._objects, info, record.namespace, record.name, options, bootstrap.options())

    def _owner_state(self, owner: OwnerHead, record: Record) -> _Owner:
        place = self._places.get(owner.uid)
        found = self._record(place) if place is not None else None
        if place is None or found is None:
            return _Owner.ABSENT
        if found.namespace and found.namespace != record.namespace:
            return _Owner.ABSENT
        head = found.head()
        if head.uid != owner.uid:
            return _Owner.ABSENT
        if head.deletion_timestamp and FINALIZER_FOREGROUND in (head.finalizers or ()):
            return _Owner.WAITING
        return _Owner.SOLID

    async def _strip(self, place: Place, uids: set[str]) -> None:
        def change(obj: Object) -> Object:
            owners = [o for o in obj["metadata"].get("ownerReferences") or () if o.get("uid") not in uids]
            obj["metadata"]["ownerReferences"] = owners
            return obj

        await self._change(place, change)

    async def _remove_finalizer(self, info: ResourceInfo, record: Record, finalizer: str) -> None:
        def change(obj: Object) -> Object:
            obj["metadata"]["finalizers"] = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
            return obj

        await self._change((info.bucket, record.key), change)

    async def _change(self, place: Place, change: Callable[[Object], Object]) -> None:
        info = self._objects.resources.stored(place[0])
        if info is not None and self._record(place) is not None:
            await self._objects.update(info, *place[1], change, bootstrap.options())

"""Names for disks to clone from: whether what a DataSource names is there.

Source: containerized-data-importer pkg/controller/datasource-controller.go; cdi facts 6.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.sources import DataSource, DataSourceCondition, DataSourceSource, DataSourceStatus
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.meta import Resource
from kvtui.api.times import to_time
from kvtui.api.wire import ObjectKey, evolve
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.patches import write_changes
from kvtui.controlloop.controller import DONE, Controller, Result
from kvtui.errors import NotFound

TARGET = "data source target"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The Ready condition, and what the DataSource stands for."""

    status: str
    reason: str
    message: str
    source: DataSourceSource | None = None
    labels: dict[str, str] | None = None


Find = Callable[[ObjectKey], DataSource | None]


def _no(reason: str, message: str) -> Verdict:
    return Verdict("False", reason, message)


def resolve(found: DataSource, find: Find) -> DataSourceSource | Verdict:
    """What it names in the end: one further DataSource of its namespace may lie between."""
    source = found.spec.source
    if [source.pvc, source.snapshot, source.data_source].count(None) != 2:
        return _no("NoSource", "No source PVC set")
    ref = source.data_source
    if ref is None:
        return source
    namespace = found.metadata.namespace
    if (ref.namespace or namespace) != namespace:
        return _no("CrossNamespaceReference", "DataSource cannot reference a DataSource of another namespace")
    if ref.name == found.metadata.name:
        return _no("SelfReference", "DataSource cannot reference itself")
    further = find(ObjectKey(namespace, ref.name))
    if further is None:
        return _no("NotFound", "DataSource not found")
    if further.spec.source.data_source is not None:
        return _no("MaxReferenceDepthReached", "DataSource reference chain is too long")
    return resolve(further, find)


def verdict(
    found: DataSource, find: Find, volumes: Callable[[ObjectKey], DataVolume | None], claims: Callable[..., object]
) -> Verdict:
    source = resolve(found, find)
    if isinstance(source, Verdict):
        return source
    if source.pvc is None:
        return _no("NotFound", "Snapshot not found")
    key = ObjectKey(source.pvc.namespace or found.metadata.namespace, source.pvc.name)
    volume, claim = volumes(key), claims(key)
    if volume is not None and volume.status.phase != "Succeeded":
        phase = volume.status.phase or ""
        return _no(phase, f"Import DataVolume phase {phase}")
    if volume is None and not isinstance(claim, PersistentVolumeClaim):
        return _no("NotFound", "PVC not found")
    labels: dict[str, str] = {}
    for obj in (claim, volume):
        if isinstance(obj, Resource):
            labels |= of_kubevirt(obj.metadata.labels)
    return Verdict("True", "Ready", "DataSource is ready to be consumed", source, labels)


def of_kubevirt(labels: dict[str, str]) -> dict[str, str]:
    """Those that say how to use a disk."""
    domains = {key: key.partition("/")[0] for key in labels if "/" in key}
    return {k: labels[k] for k, d in domains.items() if d == "kubevirt.io" or d.endswith(".kubevirt.io")}


def next_status(found: DataSource, told: Verdict, now: datetime) -> DataSourceStatus:
    old = next((c for c in found.status.conditions if c.type == "Ready"), None)
    if old is not None and (old.status, old.reason or "", old.message or "") == (
        told.status,
        told.reason,
        told.message,
    ):
        return evolve(found.status, source=told.source)
    moment = to_time(now)
    made = DataSourceCondition(
        type="Ready",
        status=told.status,
        reason=told.reason or None,
        message=told.message or None,
        last_heartbeat_time=moment,
        last_transition_time=old.last_transition_time if old is not None and old.status == told.status else moment,
    )
    others = [c for c in found.status.conditions if c.type != "Ready"]
    return evolve(found.status, source=told.source, conditions=[*others, made])


def _targets(found: DataSource) -> list[str]:
    source = found.spec.source
    namespace = found.metadata.namespace
    if source.data_source is not None:
        return [f"datasource {source.data_source.namespace or namespace}/{source.data_source.name}"]
    return [f"{source.pvc.namespace or namespace}/{source.pvc.name}"] if source.pvc is not None else []


class DataSourceController:
    """Keeps Ready, status.source and the labels of every DataSource."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        self.sources = context.informers.index(DataSource, TARGET, _targets)
        self.claims = indices.claims(context.informers)
        self.volumes = indices.data_volumes(context.informers)
        self.controller: Controller[ObjectKey] = Controller(
            "datasource",
            self.reconcile,
            informers=[self.sources, self.claims, self.volumes],
            settings=context.settings.loop,
            workers=1,
        )
        self.sources.subscribe(self._source_changed)
        self.claims.subscribe(self._target_changed)
        self.volumes.subscribe(self._target_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _source_changed(self, old: DataSource | None, new: DataSource | None) -> None:
        found = new or old
        assert found is not None
        self.controller.queue.add(found.key)
        self._wake(f"datasource {found.key}")

    def _target_changed(self, old: Resource | None, new: Resource | None) -> None:
        obj = new or old
        assert obj is not None
        for found in self.sources.store.by_index(TARGET, str(obj.key)):
            self.controller.queue.add(found.key)
            self._wake(f"datasource {found.key}")

    def _wake(self, target: str) -> None:
        for found in self.sources.store.by_index(TARGET, target):
            self.controller.queue.add(found.key)

    async def reconcile(self, key: ObjectKey) -> Result:
        found = self.sources.get(key)
        if found is None or found.metadata.deletion_timestamp:
            return DONE
        told = verdict(found, self.sources.get, self.volumes.get, self.claims.get)
        metadata = evolve(found.metadata, labels={**found.metadata.labels, **(told.labels or {})})
        wanted = evolve(found, metadata=metadata, status=next_status(found, told, self.context.clock()))
        try:
            await write_changes(self.context.client, found, wanted)
        except NotFound:
            return DONE
        return DONE

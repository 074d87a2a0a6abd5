"""The views: which rows, columns and sort order each number key shows, and how caches become rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.core.config import Event
from kvtui.api.core.node import Node
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration as Migration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.meta import Resource
from kvtui.api.wire import ObjectKey
from kvtui.tui.columns import datavolumes, events, migrations, nodes, vms
from kvtui.tui.columns.cell import Sight
from kvtui.tui.model.cluster import Cluster, subscribe_keys
from kvtui.tui.model.collection import Collection, Sorting
from kvtui.tui.model.rows import (
    FINAL_PHASES,
    DataVolumeRow,
    EventRow,
    MigrationRow,
    NodeRow,
    Usage,
    VmRow,
)
from kvtui.tui.model.transfer import Transfer, sample_of

_BY_VMI, _BY_NODE, _BY_VOLUME = "vmi", "node", "volume"


@dataclass(frozen=True, slots=True)
class View:
    """One entry of the tabs."""

    id: str
    number: int
    title: str
    short: str
    noun: str
    """Plural, as in `No virtual machines in default.`"""
    resource: str
    """Plural resource name with its group, as a missing right is named."""
    kind: type[Resource]
    collection: Collection[Any]
    namespaced: bool = True


class Views:
    """All views of a cluster. Subscribes to its caches for as long as the cluster lives."""

    def __init__(self, cluster: Cluster, sight: Callable[[], Sight]) -> None:
        self.cluster = cluster
        self._transfers: dict[str, Transfer] = {}
        self._usage: dict[ObjectKey, Usage] = {}
        self._progress: dict[str, tuple[float, float, float | None]] = {}
        self.vms: Collection[VmRow] = Collection(
            vms.COLUMNS, self._vm, sort=Sorting("name"), sight=sight, extra=vms.words
        )
        self.volumes: Collection[DataVolumeRow] = Collection(
            datavolumes.COLUMNS, self._volume, sort=Sorting("name"), sight=sight
        )
        self.migrations: Collection[MigrationRow] = Collection(
            migrations.COLUMNS, self._migration, sort=Sorting("phase"), sight=sight
        )
        self.nodes: Collection[NodeRow] = Collection(nodes.COLUMNS, self._node, sort=Sorting("name"), sight=sight)
        self.events: Collection[EventRow] = Collection(events.COLUMNS, self._event, sort=Sorting("time"), sight=sight)
        self.all: tuple[View, ...] = (
            View("vms", 1, "VMs", "VMs", "virtual machines", "virtualmachines.kubevirt.io", VirtualMachine, self.vms),
            View("dvs", 2, "DataVolumes", "DVs", "DataVolumes", "datavolumes.cdi.kubevirt.io", DataVolume,
                 self.volumes),
            View("migrations", 3, "Migrations", "Migr", "migrations",
                 "virtualmachineinstancemigrations.kubevirt.io", Migration, self.migrations),
            View("nodes", 4, "Nodes", "Nodes", "nodes", "nodes", Node, self.nodes, namespaced=False),
            View("events", 5, "Events", "Events", "events", "events", Event, self.events),
        )  # fmt: skip
        cluster.attach(self._subscribe)

    def view(self, id_: str) -> View:
        return next(view for view in self.all if view.id == id_)

    def set_namespaces(self, names: set[str]) -> None:
        """Empty: all."""
        for view in self.all:
            if view.namespaced:
                view.collection.set_namespaces(names)

    def set_usage(self, usage: dict[ObjectKey, Usage]) -> None:
        changed = {key for key in usage.keys() | self._usage.keys() if usage.get(key) != self._usage.get(key)}
        self._usage = usage
        self.vms.touch(*changed)

    def active_migrations(self) -> int:
        return sum(1 for row in self.migrations.rows() if row.active)

    def events_of(self, *names: str, namespace: str) -> list[Event]:
        """Events about objects of these names, newest first."""
        wanted = set(names)
        found = [
            e
            for e in self.cluster.informer(Event).all()
            if e.involved_object.name in wanted and (not namespace or e.metadata.namespace == namespace)
        ]
        return sorted(found, key=lambda e: str(events.time_of(e) or ""), reverse=True)

    def migrations_of(self, key: ObjectKey) -> list[MigrationRow]:
        """Migrations of one VM, newest first."""
        rows = [self._migration(m.key) for m in self._by_vmi(key)]
        return sorted((row for row in rows if row is not None), key=migrations.by_recency)

    # From caches to rows

    def _subscribe(self) -> None:
        informer = self.cluster.informer
        informer(Migration).store.add_index(_BY_VMI, lambda m: [f"{m.metadata.namespace}/{m.spec.vmi_name}"])
        informer(VirtualMachineInstance).store.add_index(_BY_NODE, lambda i: [_node_of(i)])
        informer(VirtualMachineInstance).store.add_index(_BY_VOLUME, _claims_of)
        subscribe_keys(informer(VirtualMachine), lambda vm: self.vms.touch(vm.key))
        subscribe_keys(informer(VirtualMachineInstance), self._instance_changed)
        subscribe_keys(informer(Migration), self._migration_changed)
        subscribe_keys(informer(DataVolume), lambda volume: self.volumes.touch(volume.key))
        subscribe_keys(informer(PersistentVolumeClaim), lambda claim: self.volumes.touch(claim.key))
        subscribe_keys(informer(Node), lambda node: self.nodes.touch(ObjectKey("", node.metadata.name)))
        subscribe_keys(informer(Event), lambda event: self.events.touch(event.key))

    def _instance_changed(self, vmi: VirtualMachineInstance) -> None:
        self.vms.touch(vmi.key)
        if node := _node_of(vmi):
            self.nodes.touch(ObjectKey("", node))
        self.volumes.touch(*(ObjectKey.parse(name) for name in _claims_of(vmi)))
        self.migrations.touch(*(m.key for m in self._by_vmi(vmi.key)))

    def _migration_changed(self, migration: Migration) -> None:
        sample = sample_of(migration)
        if sample is not None:
            uid = migration.metadata.uid
            self._transfers[uid] = self._transfers.get(uid, Transfer()).seen(sample)
        self.migrations.touch(migration.key)
        self.vms.touch(ObjectKey(migration.metadata.namespace, migration.spec.vmi_name or ""))
        self.nodes.touch(*(ObjectKey("", node.metadata.name) for node in self.cluster.nodes))

    def _by_vmi(self, key: ObjectKey) -> list[Migration]:
        return self.cluster.informer(Migration).store.by_index(_BY_VMI, str(key))

    def _vm(self, key: ObjectKey) -> VmRow | None:
        vm = self.cluster.informer(VirtualMachine).get(key)
        vmi = self.cluster.informer(VirtualMachineInstance).get(key)
        if vm is None and vmi is None:
            return None
        active = next((m for m in self._by_vmi(key) if not _final(m)), None)
        return VmRow(key, vm, vmi, active, self._usage.get(key))

    def _volume(self, key: ObjectKey) -> DataVolumeRow | None:
        volume = self.cluster.informer(DataVolume).get(key)
        claim = self.cluster.informer(PersistentVolumeClaim).get(key)
        if volume is None and claim is None:
            return None
        users = self.cluster.informer(VirtualMachineInstance).store.by_index(_BY_VOLUME, str(key))
        row = DataVolumeRow(key, volume, claim, tuple(user.metadata.name for user in users))
        return row if volume is None else self._with_rate(row, volume)

    def _with_rate(self, row: DataVolumeRow, volume: DataVolume) -> DataVolumeRow:
        progress = row.progress
        if progress is None or progress in (0.0, 100.0):
            return row
        now = self.cluster.clock().timestamp()
        before, at, rate = self._progress.get(volume.metadata.uid, (progress, now, None))
        if progress > before and now > at:
            fresh = (progress - before) / (now - at)
            rate = fresh if rate is None else 0.7 * rate + 0.3 * fresh
            self._progress[volume.metadata.uid] = (progress, now, rate)
        else:
            self._progress.setdefault(volume.metadata.uid, (progress, now, None))
        return DataVolumeRow(row.key, row.volume, row.claim, row.used_by, rate)

    def _migration(self, key: ObjectKey) -> MigrationRow | None:
        migration = self.cluster.informer(Migration).get(key)
        if migration is None:
            return None
        vmi = self.cluster.informer(VirtualMachineInstance).get(ObjectKey(key.namespace, migration.spec.vmi_name or ""))
        return MigrationRow(key, migration, vmi, self._transfers.get(migration.metadata.uid, Transfer()))

    def _node(self, key: ObjectKey) -> NodeRow | None:
        node = self.cluster.informer(Node).get(key)
        if node is None:
            return None
        running = [
            vmi
            for vmi in self.cluster.informer(VirtualMachineInstance).store.by_index(_BY_NODE, key.name)
            if not vmi.status or vmi.status.phase not in FINAL_PHASES
        ]
        specs = [vmi.spec for vmi in running if vmi.spec is not None]
        moving = [m for m in self.cluster.informer(Migration).all() if not _final(m) and m.status]
        states = [m.status.migration_state for m in moving if m.status and m.status.migration_state]
        return NodeRow(
            key,
            node,
            len(running),
            float(sum(vms.cores_of(spec) for spec in specs)),
            float(sum(vms.memory_of(spec) or 0 for spec in specs)),
            sum(1 for s in states if s.source_node == key.name),
            sum(1 for s in states if s.target_node == key.name),
        )

    def _event(self, key: ObjectKey) -> EventRow | None:
        event = self.cluster.informer(Event).get(key)
        return None if event is None else EventRow(key, event)


def _final(migration: Migration) -> bool:
    return bool(migration.status and migration.status.phase in FINAL_PHASES)


def _node_of(vmi: VirtualMachineInstance) -> str:
    return (vmi.status.node_name or "") if vmi.status else ""


def _claims_of(vmi: VirtualMachineInstance) -> list[str]:
    names = []
    for volume in vmi.spec.volumes if vmi.spec else ():
        if volume.data_volume is not None:
            names.append(volume.data_volume.name)
        elif volume.persistent_volume_claim is not None:
            names.append(volume.persistent_volume_claim.claim_name)
    return [f"{vmi.metadata.namespace}/{name}" for name in names]

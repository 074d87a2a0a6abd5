"""Joins the caches with the metrics computed from them, and observes how long phases take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from kvtui.api.cdi.config import CDI
from kvtui.api.cdi.datavolume import DataVolume
from kvtui.api.cdi.profile import StorageProfile
from kvtui.api.core.node import Node
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim, StorageClass
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceSpec
from kvtui.api.times import from_time
from kvtui.controllers import indices
from kvtui.controllers.clusterconfig import Configuration
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.metrics.components import component_families, node_families
from kvtui.controllers.metrics.machines import overhead_family, vm_families, vmi_families
from kvtui.controllers.metrics.migrations import migration_families, times_families
from kvtui.controllers.metrics.volumes import volume_families
from kvtui.controllers.virtualmachine.instancetypes import CacheView, Instancetypes
from kvtui.controlloop.exposition import Family
from kvtui.errors import KvtuiError
from kvtui.virtapi.admission.config import ClusterConfig
from kvtui.virtapi.instancetype.expand import expanded

BOUNDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0)


class MetricsController:
    """Registers everything that this process can tell. Has nothing to reconcile."""

    def __init__(self, context: ControllerContext) -> None:
        self.context = context
        informers = context.informers
        self.vms = informers.of(VirtualMachine)
        self.vmis = indices.vmis(informers)
        self.pods = indices.pods(informers)
        self.claims = informers.of(PersistentVolumeClaim)
        self.migrations = indices.migrations(informers)
        self.nodes = informers.of(Node)
        self.classes = informers.of(StorageClass)
        self.data_volumes = informers.of(DataVolume, optional=True)
        self.profiles = informers.of(StorageProfile, optional=True)
        self.cdis = informers.of(CDI, optional=True)
        Instancetypes(context)  # the caches in which the view looks
        self.view = CacheView(informers)
        metrics = context.metrics
        metrics.collect(self._families)
        self.transitions = metrics.histogram(
            "kubevirt_vmi_phase_transition_time_seconds", "Time between two phases of a VMI.", BOUNDS
        )
        self.from_creation = metrics.histogram(
            "kubevirt_vmi_phase_transition_time_from_creation_seconds", "Time from creation to a phase.", BOUNDS
        )
        self.from_deletion = metrics.histogram(
            "kubevirt_vmi_phase_transition_time_from_deletion_seconds", "Time from deletion to a phase.", BOUNDS
        )
        self.migration_phases = metrics.histogram(
            "kubevirt_vmi_migration_phase_transition_time_from_creation_seconds",
            "Time from creation of a migration to a phase.",
            BOUNDS,
        )
        self.vmis.subscribe(self._vmi_changed)
        self.migrations.subscribe(self._migration_changed)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def _families(self) -> Iterable[Family]:
        """The objects as they are now; what follows from them can be computed anywhere."""
        volumes = volume_families(
            list(self.data_volumes.all()),
            list(self.classes.all()),
            list(self.profiles.all()),
            list(self.pods.all()),
            list(self.cdis.all()),
        )
        objects = self._computed(
            vms=list(self.vms.all()),
            vmis=list(self.vmis.all()),
            launchers=[p for p in self.pods.all() if p.metadata.labels.get("kubevirt.io") == "virt-launcher"],
            claims={str(c.key): c for c in self.claims.all()},
            migrations=list(self.migrations.all()),
            nodes=list(self.nodes.all()),
            specs=self._expansion(),
            config=self.context.config.now,
            ready=float(all(i.synced for i in self.context.informers.all)),
        )
        return chain(objects, volumes)

    def _expansion(self) -> Callable[[VirtualMachine], VirtualMachineInstanceSpec]:
        """How the VMs of now are expanded: those few that name an instancetype or preference."""
        config = ClusterConfig(self.context.config.configuration)
        named = (v for v in self.vms.all() if v.spec.instancetype is not None or v.spec.preference is not None)
        found = {v.metadata.uid: self._expanded(v, config) for v in named}
        return lambda vm: found.get(vm.metadata.uid) or vm.spec.template.spec

    def _expanded(self, vm: VirtualMachine, config: ClusterConfig) -> VirtualMachineInstanceSpec:
        try:
            return expanded(vm, vm.metadata.namespace, self.view, config).spec.template.spec
        except (KvtuiError, KeyError):
            return vm.spec.template.spec  # what it names is missing or in conflict: it could not start like this

    def _computed(
        self,
        *,
        vms: Sequence[VirtualMachine],
        vmis: Sequence[VirtualMachineInstance],
        launchers: Sequence[Pod],
        claims: Mapping[str, PersistentVolumeClaim],
        migrations: Sequence[VirtualMachineInstanceMigration],
        nodes: Sequence[Node],
        specs: Callable[[VirtualMachine], VirtualMachineInstanceSpec],
        config: Configuration,
        ready: float,
    ) -> Iterator[Family]:
        owners = {
            (uid, p.spec.node_name or ""): p.metadata.name
            for p in launchers
            for uid in indices.controller_uid(p)
            if p.status.phase == "Running"
        }
        yield from vmi_families(vmis, config.eviction_strategy, owners)
        yield overhead_family(launchers)
        yield from vm_families(vms, claims, specs)
        yield from migration_families(migrations)
        yield from times_families(vmis, {m.metadata.uid: m.metadata.name for m in migrations})
        yield from component_families(ready=ready, emulation=config.use_emulation)
        yield from node_families(nodes)

    def _vmi_changed(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        if old is None or new is None or old.status.phase == new.status.phase or not new.status.phase:
            return
        phase, before = new.status.phase, old.status.phase or ""
        moments = {
            t.phase: from_time(t.phase_transition_timestamp)
            for t in new.status.phase_transition_timestamps
            if t.phase_transition_timestamp
        }
        at = moments.get(phase) or self.context.clock()
        if before in moments:
            self.transitions.observe((at - moments[before]).total_seconds(), phase=phase, last_phase=before)
        if new.metadata.creation_timestamp:
            self.from_creation.observe((at - from_time(new.metadata.creation_timestamp)).total_seconds(), phase=phase)
        if new.metadata.deletion_timestamp and phase in ("Succeeded", "Failed"):
            self.from_deletion.observe((at - from_time(new.metadata.deletion_timestamp)).total_seconds(), phase=phase)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        if old is None or new is None or old.status.phase == new.status.phase or not new.status.phase:
            return
        if new.metadata.creation_timestamp:
            passed = self.context.clock() - from_time(new.metadata.creation_timestamp)
            self.migration_phases.observe(passed.total_seconds(), phase=new.status.phase)

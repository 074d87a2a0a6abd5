"""Joins the caches with the metrics computed from them, and observes how long phases take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vm import VirtualMachine
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.api.times import from_time
from kvtui.controllers import indices
from kvtui.controllers.context import ControllerContext
from kvtui.controllers.kubevirt import UPSTREAM_VERSION
from kvtui.controllers.metrics.machines import overhead_family, vm_families, vmi_families
from kvtui.controllers.metrics.migrations import migration_families
from kvtui.controllers.metrics.registry import Family, gauge

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

    def _families(self) -> Iterator[Family]:
        config = self.context.config.now
        launchers = [p for p in self.pods.all() if p.metadata.labels.get("kubevirt.io") == "virt-launcher"]
        owners = {uid: p.metadata.name for p in launchers for uid in indices.controller_uid(p)}
        yield from vmi_families(self.vmis.all(), config.eviction_strategy, owners)
        yield overhead_family(launchers)
        yield from vm_families(self.vms.all(), {str(c.key): c for c in self.claims.all()})
        yield from migration_families(self.migrations.all())
        emulated = float(config.use_emulation)
        yield gauge("kubevirt_configuration_emulation_enabled", "Whether emulation is allowed.", [({}, emulated)])
        ready = float(all(i.synced for i in self.context.informers.all))
        yield gauge("kubevirt_virt_controller_ready_status", "Whether the controllers are ready.", [({}, ready)])
        yield gauge("kubevirt_virt_controller_leading_status", "Whether these controllers lead.", [({}, 1.0)])
        # The same process does what virt-operator does.
        yield gauge("kubevirt_virt_operator_ready_status", "Whether the operator is ready.", [({}, ready)])
        yield gauge("kubevirt_virt_operator_leading_status", "Whether this operator leads.", [({}, 1.0)])
        version = {"goversion": "", "kubeversion": UPSTREAM_VERSION}
        yield gauge("kubevirt_info", "Version information.", [(version, 1.0)])

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
        if new.metadata.deletion_timestamp:
            self.from_deletion.observe((at - from_time(new.metadata.deletion_timestamp)).total_seconds(), phase=phase)

    def _migration_changed(
        self, old: VirtualMachineInstanceMigration | None, new: VirtualMachineInstanceMigration | None
    ) -> None:
        if old is None or new is None or old.status.phase == new.status.phase or not new.status.phase:
            return
        if new.metadata.creation_timestamp:
            passed = self.context.clock() - from_time(new.metadata.creation_timestamp)
            self.migration_phases.observe(passed.total_seconds(), phase=new.status.phase)

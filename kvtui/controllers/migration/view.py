"""One migration and everything that its next step depends on.

Source: control plane facts 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from kvtui.api.core.pod import Pod
from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import (
    VirtualMachineInstance,
    VirtualMachineInstanceMigrationState,
    VMIMConfigurationOptions,
)
from kvtui.api.times import from_time
from kvtui.controllers import names
from kvtui.controllers.virtualmachineinstance import pods

FINAL = ("Succeeded", "Failed")
WITH_POD = ("Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running")
HANDED_OFF = ("PreparingTarget", "TargetReady", "Running")
PRIORITIES = {"system-critical": 100, "user-triggered": 50, "system-maintenance": 20}
SYSTEM = (names.EVACUATION_MIGRATION, names.WORKLOAD_UPDATE_MIGRATION)
"""Annotations of migrations that nobody asked for by hand; only these are held back after failures."""


def phase_of(migration: VirtualMachineInstanceMigration) -> str:
    return migration.status.phase or ""


def is_final(migration: VirtualMachineInstanceMigration) -> bool:
    return phase_of(migration) in FINAL


def priority_of(migration: VirtualMachineInstanceMigration) -> int:
    return PRIORITIES.get(migration.spec.priority or "", 0)


def age_key(migration: VirtualMachineInstanceMigration) -> tuple[str, str]:
    return migration.metadata.creation_timestamp or "", migration.metadata.name


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A migration as it is now."""

    migration: VirtualMachineInstanceMigration
    now: datetime
    vmi: VirtualMachineInstance | None = None
    pods: Sequence[Pod] = ()
    """All that the VMI controls."""
    others: Sequence[VirtualMachineInstanceMigration] = ()
    """Further migrations of this VMI."""
    may_start: bool = True
    """Whether the limits leave room for one more."""
    options: VMIMConfigurationOptions = field(default_factory=VMIMConfigurationOptions)
    policy: str | None = None

    @property
    def phase(self) -> str:
        return phase_of(self.migration)

    @property
    def uid(self) -> str:
        return self.migration.metadata.uid

    @property
    def target(self) -> Pod | None:
        return pods.newest(p for p in self.pods if p.metadata.labels.get(names.MIGRATION_JOB_UID) == self.uid)

    @property
    def source(self) -> Pod | None:
        """The VMI's Pod on the node where it is."""
        if self.vmi is None:
            return None
        here = [p for p in self.pods if p.metadata.labels.get(names.MIGRATION_JOB_UID) != self.uid]
        return pods.current(self.vmi, here)

    @property
    def state(self) -> VirtualMachineInstanceMigrationState | None:
        """The VMI's migration state where it speaks of this migration."""
        state = self.vmi.status.migration_state if self.vmi is not None else None
        return state if state is not None and state.migration_uid == self.uid else None

    @property
    def arrived(self) -> bool:
        """Whether the guest is on the target, whatever became of the rest."""
        state = self.state
        return state is not None and bool(state.completed) and not state.failed

    @property
    def deleting(self) -> bool:
        return bool(self.migration.metadata.deletion_timestamp)

    def since(self, phase: str) -> float:
        """Seconds since the migration entered a phase; 0 when it never did."""
        for stamp in self.migration.status.phase_transition_timestamps:
            if stamp.phase == phase and stamp.phase_transition_timestamp:
                return (self.now - from_time(stamp.phase_transition_timestamp)).total_seconds()
        return 0.0


def failed_at(migration: VirtualMachineInstanceMigration) -> datetime | None:
    for stamp in migration.status.phase_transition_timestamps:
        if stamp.phase == "Failed" and stamp.phase_transition_timestamp:
            return from_time(stamp.phase_transition_timestamp)
    return None


BACKOFF_BASE = 20.0
BACKOFF_OFF = "kubevirt.io/func-test-ignore-migration-backoff"


def backoff_left(view: View) -> float:
    """Seconds for which a migration that the system wants is held back because earlier ones failed."""
    annotations = view.migration.metadata.annotations
    if not any(key in annotations for key in SYSTEM) or BACKOFF_OFF in annotations:
        return 0.0
    alike = [m for m in view.others if any(key in m.metadata.annotations for key in SYSTEM)]
    earlier = sorted(alike, key=age_key, reverse=True)
    if not earlier or age_key(earlier[0]) > age_key(view.migration):
        return 0.0
    failures = 0
    for migration in earlier:
        if phase_of(migration) == "Succeeded":
            break
        failures += phase_of(migration) == "Failed" and not migration.metadata.deletion_timestamp
    last = failed_at(earlier[0])
    if not failures or last is None:
        return 0.0
    wait = float(BACKOFF_BASE * 2 ** (failures - 1))
    return max(0.0, wait - (view.now - last).total_seconds())

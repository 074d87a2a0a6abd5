"""Metrics about migrations, computed from the cache at each scrape.

Source: kubevirt docs/observability/metrics.md; control plane facts 10.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.times import from_time
from kvtui.controllers.metrics.registry import Family, gauge

PHASES = {
    "unset": ("",),
    "pending": ("Pending",),
    "scheduling": ("Scheduling",),
    "running": (
        "Running",
        "Scheduled",
        "PreparingTarget",
        "TargetReady",
        "WaitingForSync",
        "Synchronizing",
    ),
}


def migration_families(migrations: Iterable[VirtualMachineInstanceMigration]) -> Iterator[Family]:
    known = list(migrations)
    phases = Counter(m.status.phase or "" for m in known)
    for word, members in PHASES.items():
        yield gauge(
            f"kubevirt_vmi_migrations_in_{word}_phase",
            f"Number of current {word} migrations.",
            [({}, sum(phases[m] for m in members))],
        )
    for word in ("Succeeded", "Failed"):
        yield gauge(
            f"kubevirt_vmi_migration_{word.lower()}",
            f"Indicates if the VMI migration {word.lower()}.",
            ((_who(m), 1) for m in known if m.status.phase == word),
        )
    yield gauge(
        "kubevirt_vmi_migration_start_time_seconds",
        "The time at which the migration started.",
        (
            (_where(m), from_time(m.status.migration_state.start_timestamp).timestamp())
            for m in known
            if m.status.migration_state is not None and m.status.migration_state.start_timestamp
        ),
    )
    yield gauge(
        "kubevirt_vmi_migration_end_time_seconds",
        "The time at which the migration ended.",
        (
            (
                _where(m) | {"status": (m.status.phase or "").lower()},
                from_time(m.status.migration_state.end_timestamp).timestamp(),
            )
            for m in known
            if m.status.migration_state is not None and m.status.migration_state.end_timestamp
        ),
    )


def _who(migration: VirtualMachineInstanceMigration) -> dict[str, str]:
    return {
        "vmi": migration.spec.vmi_name or "",
        "vmim": migration.metadata.name,
        "namespace": migration.metadata.namespace,
    }


def _where(migration: VirtualMachineInstanceMigration) -> dict[str, str]:
    state = migration.status.migration_state
    return {
        "node": (state.source_node if state else None) or "",
        "namespace": migration.metadata.namespace,
        "name": migration.spec.vmi_name or "",
        "migration_name": migration.metadata.name,
    }

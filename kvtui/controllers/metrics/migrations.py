"""Metrics about migrations, computed from the cache at each scrape.

Source: kubevirt docs/observability/metrics.md; control plane facts 10.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kvtui.api.kubevirt.migration import VirtualMachineInstanceMigration
from kvtui.api.kubevirt.vmi import VirtualMachineInstance, VirtualMachineInstanceMigrationState
from kvtui.api.times import from_time
from kvtui.controlloop.exposition import Family, gauge

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


def times_families(vmis: Iterable[VirtualMachineInstance], names: Mapping[str, str]) -> Iterator[Family]:
    """When the last migration of each VMI began and ended; `names`: uid -> name of a migration."""
    states = [(_where(v, names), v.status.migration_state) for v in vmis if v.status.migration_state is not None]
    yield gauge(
        "kubevirt_vmi_migration_start_time_seconds",
        "The time at which the migration started.",
        ((who, from_time(s.start_timestamp).timestamp()) for who, s in states if s is not None and s.start_timestamp),
    )
    yield gauge(
        "kubevirt_vmi_migration_end_time_seconds",
        "The time at which the migration ended.",
        (
            (who | {"status": _outcome(s)}, from_time(s.end_timestamp).timestamp())
            for who, s in states
            if s is not None and s.end_timestamp
        ),
    )


def _outcome(state: VirtualMachineInstanceMigrationState) -> str:
    if not state.completed:
        return ""
    return "failed" if state.failed else "succeeded"


def _who(migration: VirtualMachineInstanceMigration) -> dict[str, str]:
    return {
        "vmi": migration.spec.vmi_name or "",
        "vmim": migration.metadata.name,
        "namespace": migration.metadata.namespace,
    }


def _where(vmi: VirtualMachineInstance, names: Mapping[str, str]) -> dict[str, str]:
    state = vmi.status.migration_state
    return {
        "node": vmi.status.node_name or "",
        "namespace": vmi.metadata.namespace,
        "name": vmi.metadata.name,
        "migration_name": names.get((state.migration_uid if state else None) or "", ""),
    }

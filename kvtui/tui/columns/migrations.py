"""Migrations as rows: active ones first, then newest first."""

from __future__ import annotations

from kvtui.tui.columns.cell import (
    NONE,
    Cell,
    Column,
    Sight,
    Tone,
    clock_time,
    moment,
    newest_first,
    since,
    size,
    state,
)
from kvtui.tui.model.rows import MigrationRow
from kvtui.tui.model.transfer import Verdict

TONES = {"Succeeded": Tone.OK, "Failed": Tone.FAIL, "Pending": Tone.HOLD}
VERDICT_TONES = {
    Verdict.CONVERGING: Tone.OK,
    Verdict.SLOW: Tone.WARN,
    Verdict.NOT_CONVERGING: Tone.FAIL,
    Verdict.STALLED: Tone.FAIL,
    Verdict.SWITCHING: Tone.MOVE,
    Verdict.POST_COPY: Tone.MOVE,
}


def phase_cell(row: MigrationRow, sight: Sight) -> Cell:
    if row.aborting:
        return state("Aborting...", Tone.BUSY, sight)
    return state(row.phase, TONES.get(row.phase, Tone.MOVE), sight)


def reason(row: MigrationRow) -> str:
    """Why it failed, in the server's words."""
    status = row.object.status
    migration = status.migration_state if status else None
    if migration is not None and migration.failure_reason:
        return migration.failure_reason
    for condition in status.conditions if status else ():
        if condition.status == "True" and (condition.message or condition.reason) and condition.type != "Ready":
            return condition.message or condition.reason or ""
    return ""


def ended_after(row: MigrationRow) -> float | None:
    """Seconds that a finished migration took."""
    status = row.object.status
    migration = status.migration_state if status else None
    start = moment(migration.start_timestamp if migration else None) or moment(row.object.metadata.creation_timestamp)
    end = moment(migration.end_timestamp if migration else None)
    return (end - start).total_seconds() if start and end else None


def started_by(row: MigrationRow) -> str:
    """Who asked: the field manager that made the object, or the evacuation."""
    if "kubevirt.io/evacuationMigration" in row.object.metadata.annotations:
        return "evacuation"
    fields = row.object.metadata.managed_fields
    return fields[0].manager if fields else ""


def _progress(row: MigrationRow, sight: Sight) -> Cell:
    if not row.active:
        seconds = ended_after(row)
        return Cell(f"took {clock_time(seconds)}", Tone.DIM) if seconds is not None else NONE
    share = row.transfer.share
    if share is None:
        return NONE
    bar = sight.glyphs.bar(share, 12, row.transfer.best_share)
    return Cell(f"{bar} {share * 100:3.0f} %", Tone.MOVE)


def _left(row: MigrationRow, sight: Sight) -> Cell:
    last = row.transfer.last
    return Cell(size(last.remaining)) if row.active and last is not None else NONE


def _route(row: MigrationRow, sight: Sight) -> Cell:
    source, target = row.route()
    return Cell(f"{source or '-'} > {target or '-'}")


def _verdict(row: MigrationRow, sight: Sight) -> Cell:
    verdict = row.transfer.verdict if row.active else Verdict.NONE
    return Cell(verdict.value, VERDICT_TONES[verdict]) if verdict else NONE


def _rate(value: float, row: MigrationRow) -> Cell:
    return Cell(size(value, per_second=True)) if row.active and row.transfer.last is not None else NONE


def _time_left(row: MigrationRow, sight: Sight) -> Cell:
    seconds = row.transfer.seconds_left if row.active else None
    return Cell(clock_time(seconds)) if seconds is not None else NONE


def _pause(row: MigrationRow, sight: Sight) -> Cell:
    last = row.transfer.last
    return Cell(f"{last.downtime_ms:.0f} ms") if last is not None and last.downtime_ms else NONE


def _mode(row: MigrationRow, sight: Sight) -> Cell:
    status = row.object.status
    mode = (status.migration_state.mode if status and status.migration_state else None) or (
        row.transfer.last.mode if row.transfer.last else ""
    )
    return Cell(mode) if mode else NONE


def _policy(row: MigrationRow, sight: Sight) -> Cell:
    status = row.object.status
    name = status.migration_state.migration_policy_name if status and status.migration_state else None
    return Cell(name) if name else NONE


def _reason(row: MigrationRow, sight: Sight) -> Cell:
    text = reason(row)
    return Cell(text, Tone.FAIL if row.phase == "Failed" else Tone.DIM) if text else NONE


def by_recency(row: MigrationRow) -> tuple[bool, float]:
    """Active ones first, then newest first."""
    created = moment(row.object.metadata.creation_timestamp)
    return (not row.active, -created.timestamp() if created else 0.0)


COLUMNS: tuple[Column[MigrationRow], ...] = (
    Column("namespace", "NAMESPACE", 12, lambda row, sight: Cell(row.key.namespace), core=True),
    Column("vm", "VM", 12, lambda row, sight: Cell(row.object.spec.vmi_name or "-"),
           lambda row: row.object.spec.vmi_name, core=True, grows=2),
    Column("phase", "PHASE", 17, phase_cell, by_recency, core=True),
    Column("progress", "PROGRESS", 18, _progress, lambda row: row.transfer.share, core=True),
    Column("left", "LEFT", 7, _left, lambda row: row.transfer.last.remaining if row.transfer.last else None,
           right=True, core=True),
    Column("route", "FROM > TO", 17, _route, core=True, grows=1),
    Column("verdict", "VERDICT", 14, _verdict),
    Column("writes", "WRITES/s", 10, lambda row, sight: _rate(row.transfer.write_rate, row),
           lambda row: row.transfer.write_rate, right=True),
    Column("copy", "COPY/s", 10, lambda row, sight: _rate(row.transfer.copy_rate, row),
           lambda row: row.transfer.copy_rate, right=True),
    Column("time", "TIME LEFT", 9, _time_left, lambda row: row.transfer.seconds_left, right=True),
    Column("pause", "PAUSE", 7, _pause, right=True),
    Column("mode", "MODE", 9, _mode),
    Column("policy", "POLICY", 10, _policy),
    Column("by", "BY", 10, lambda row, sight: Cell(started_by(row) or "-"), started_by),
    Column("age", "AGE", 4, lambda row, sight: since(row.object.metadata.creation_timestamp, sight),
           lambda row: newest_first(row.object.metadata.creation_timestamp), right=True),
    Column("reason", "REASON", 20, _reason, reason, grows=4),
    Column("name", "OBJECT", 20, lambda row, sight: Cell(row.key.name, Tone.DIM), lambda row: row.key.name),
)  # fmt: skip

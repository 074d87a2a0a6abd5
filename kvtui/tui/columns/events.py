"""Events as rows; the newest first, repeats are one row with a count."""

from __future__ import annotations

from datetime import datetime

from kvtui.api.core.config import Event
from kvtui.tui.columns.cell import NONE, Cell, Column, Sight, Tone, local_clock, moment
from kvtui.tui.model.rows import EventRow


def time_of(event: Event) -> datetime | None:
    """When it was last seen."""
    series = event.series.last_observed_time if event.series else None
    return (
        moment(series)
        or moment(event.last_timestamp)
        or moment(event.event_time)
        or moment(event.first_timestamp)
        or moment(event.metadata.creation_timestamp)
    )


def _time(row: EventRow, sight: Sight) -> Cell:
    then = time_of(row.object)
    return Cell(local_clock(then, sight.now.tzinfo)) if then else NONE


def _order(row: EventRow) -> float | None:
    then = time_of(row.object)
    return -then.timestamp() if then else None


def type_cell(event: Event) -> Cell:
    return Cell(event.type or "-", Tone.WARN if event.type == "Warning" else Tone.DIM)


def object_of(event: Event) -> str:
    about = event.involved_object
    return f"{about.kind.lower()}/{about.name}"


def count_of(event: Event) -> int:
    return event.series.count if event.series else event.count or 1


def source_of(event: Event) -> str:
    return event.source.component or event.reporting_component


COLUMNS: tuple[Column[EventRow], ...] = (
    Column("namespace", "NAMESPACE", 12, lambda row, sight: Cell(row.key.namespace), core=True),
    Column("time", "TIME", 8, _time, _order, core=True),
    Column("type", "TYPE", 7, lambda row, sight: type_cell(row.object), lambda row: row.object.type, core=True),
    Column("object", "OBJECT", 22, lambda row, sight: Cell(object_of(row.object)), lambda row: object_of(row.object),
           core=True, grows=1),
    Column("reason", "REASON", 14, lambda row, sight: Cell(row.object.reason), lambda row: row.object.reason,
           core=True),
    Column("message", "MESSAGE", 20, lambda row, sight: Cell(" ".join(row.object.message.split())),
           lambda row: row.object.message, core=True, grows=5),
    Column("count", "COUNT", 5, lambda row, sight: Cell(str(count_of(row.object)) if count_of(row.object) > 1 else ""),
           lambda row: count_of(row.object), right=True),
    Column("by", "SOURCE", 18, lambda row, sight: Cell(source_of(row.object) or "-", Tone.DIM),
           lambda row: source_of(row.object)),
)  # fmt: skip

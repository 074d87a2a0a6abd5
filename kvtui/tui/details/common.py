"""Parts of detail pages that every kind has: conditions, events, YAML, label and value pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import yaml

from kvtui.api.core.config import Event
from kvtui.tui.columns.cell import Cell, Line, Sight, Tone, clean, duration, fit, line, local_clock, moment
from kvtui.tui.columns.events import count_of, time_of, type_cell

LABEL_WIDTH = 14


class AnyCondition(Protocol):
    """What conditions of all kinds have."""

    @property
    def type(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def message(self) -> str | None: ...
    @property
    def last_transition_time(self) -> Any: ...


def pair(label: str, *value: Cell | str) -> Line:
    """Label dim, value after it."""
    return line(Cell(fit(label, LABEL_WIDTH), Tone.DIM), *value)


def heading(text: str) -> Line:
    return line(Cell(text, Tone.STRONG))


_BAD_WHEN_TRUE = ("Failure", "RestartRequired", "AgentDisconnected", "MigrationAbortRequested")


def condition_tone(condition: AnyCondition) -> Tone:
    """A condition that is as one wants it is plain."""
    good = (condition.status == "True") != (condition.type in _BAD_WHEN_TRUE or condition.type.endswith("Pressure"))
    return Tone.TEXT if good else Tone.WARN


def conditions(found: Iterable[AnyCondition], sight: Sight) -> list[Line]:
    """Every condition, newest change first, with the server's sentence under it."""
    lines: list[Line] = []
    ordered = sorted(found, key=lambda c: str(c.last_transition_time or ""), reverse=True)
    for condition in ordered:
        then = moment(condition.last_transition_time if isinstance(condition.last_transition_time, str) else None)
        age = f"{duration((sight.now - then).total_seconds())} ago" if then else ""
        lines.append(
            line(
                Cell(fit(condition.type, 28), condition_tone(condition)),
                Cell(fit(condition.status, 8), condition_tone(condition)),
                Cell(fit(age, 10), Tone.DIM),
                Cell(clean(condition.reason or "")),
            )
        )
        if condition.message:
            lines += [line(Cell(f"  {part}", Tone.DIM)) for part in wrapped(condition.message, 100)]
    return lines or [line(Cell("No conditions yet.", Tone.DIM))]


def events(found: Sequence[Event], sight: Sight) -> list[Line]:
    """Events of an object, newest first."""
    lines = []
    for event in found:
        then = time_of(event)
        count = count_of(event)
        lines.append(
            line(
                Cell(f"{local_clock(then, sight.now.tzinfo) if then else '-':8}  ", Tone.DIM),
                Cell(fit(event.type or "-", 8), type_cell(event).tone),
                Cell(fit(event.reason, 20)),
                Cell(" " + clean(" ".join(event.message.split()))),
                Cell(f"  ({count} times)" if count > 1 else "", Tone.DIM),
            )
        )
    return lines or [line(Cell("No events yet.", Tone.DIM))]


def yaml_lines(data: Any) -> list[Line]:
    """An object as YAML, keys in the accent colour."""
    if not data:
        return [line(Cell("Loading...", Tone.DIM))]
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return [yaml_line(raw) for raw in text.splitlines()]


def yaml_line(raw: str) -> Line:
    """One line of YAML with its key toned."""
    body = raw.lstrip(" -")
    indent = raw[: len(raw) - len(body)]
    key, colon, rest = body.partition(":")
    if colon and key and (not rest or rest.startswith(" ")) and " " not in key.strip("'\""):
        return line(indent, Cell(key, Tone.ACCENT), Cell(":", Tone.DIM), rest)
    return line(raw)


def wrapped(text: str, width: int) -> list[str]:
    """Text in lines of at most `width` characters, cut between words."""
    lines, current = [], ""
    for word in clean(text).split():
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = word
        else:
            current = f"{current} {word}".strip()
    return [*lines, current] if current else lines

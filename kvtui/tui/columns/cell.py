"""Cells and columns: how a row becomes text. Functions of columns are pure; the moment is handed in.

Widths follow the Unicode tables; control characters never reach the screen.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from wcwidth import wcwidth

from kvtui.api.times import from_time
from kvtui.tui.glyphs import UNICODE, Glyphs

Row = TypeVar("Row")


class Tone(enum.StrEnum):
    """What a text means; the theme says how that looks."""

    TEXT = "text"
    DIM = "dim"
    OK = "ok"
    BUSY = "busy"
    MOVE = "move"
    WARN = "warn"
    FAIL = "fail"
    HOLD = "hold"
    OFF = "off"
    UNKNOWN = "unknown"
    ACCENT = "accent"
    STRONG = "strong"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text of one column of one row."""

    text: str
    tone: str = Tone.TEXT
    """A Tone, or one of the further names that widgets have for cursors, rules and titles."""


NONE = Cell("-")


@dataclass(frozen=True, slots=True)
class Sight:
    """What cells depend on besides their row."""

    now: datetime
    glyphs: Glyphs = UNICODE


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a view."""

    id: str
    title: str
    width: int
    """Cells it takes at least."""
    cell: Callable[[Row, Sight], Cell]
    order: Callable[[Row], Any] | None = None
    """What sorting and comparing use; the text when missing. None as a value sorts last."""
    right: bool = False
    core: bool = False
    """Shown at 80 columns too."""
    grows: int = 0
    """Share of the room that is left over."""

    def value(self, row: Row, sight: Sight) -> Any:
        return self.order(row) if self.order else self.cell(row, sight).text.casefold()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a detail pane: pieces of text with their tones."""

    pieces: tuple[Cell, ...] = field(default=())

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


def line(*pieces: Cell | str) -> Line:
    return Line(tuple(p if isinstance(p, Cell) else Cell(p) for p in pieces))


def state(word: str, tone: Tone, sight: Sight, mark: str = "") -> Cell:
    """A state with its sign: glyph, a blank, the word."""
    return Cell(f"{mark or sight.glyphs.of(tone)} {word}", tone)


# Texts


@lru_cache(maxsize=8192)
def _width_of(char: str) -> int:
    return max(0, int(wcwidth(char)))


@lru_cache(maxsize=65536)
def clean(text: str) -> str:
    """The text without control characters, which are shown as blanks."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def width_of(text: str) -> int:
    """Cells that the text takes."""
    return len(text) if text.isascii() else sum(_width_of(c) for c in text)


def fit(text: str, width: int, *, right: bool = False, cut: str = "~") -> str:
    """The text in exactly `width` cells: padded, or cut with `~` at its end."""
    text = clean(text)
    taken = width_of(text)
    if taken > width:
        kept, room = [], width - 1
        for char in text:
            room -= _width_of(char)
            if room < 0:
                break
            kept.append(char)
        text = "".join(kept) + cut if width > 0 else ""
        taken = width_of(text)
    pad = " " * (width - taken)
    return pad + text if right else text + pad


def duration(seconds: float) -> str:
    """`41s`, `5m`, `3h`, `12d`."""
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def clock_time(seconds: float) -> str:
    """`0:41`, `12:05`, `1:02:05`."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@lru_cache(maxsize=32768)
def moment(text: str | None) -> datetime | None:
    """The moment that a wire time names; None where there is none or it cannot be read."""
    try:
        return from_time(text) if text else None
    except (ValueError, TypeError):
        return None


def since(text: str | None, sight: Sight) -> Cell:
    """How long ago a wire time was."""
    then = moment(text)
    return NONE if then is None else Cell(duration((sight.now - then).total_seconds()))


def newest_first(text: str | None) -> float | None:
    """Sort value of a wire time as an age: small is young."""
    then = moment(text)
    return None if then is None else -then.timestamp()


def size(count: float, *, per_second: bool = False) -> str:
    """Bytes for people: `3.1 Gi`, `96 MiB/s`."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB") if per_second else ("", "Ki", "Mi", "Gi", "Ti", "Pi")
    power = 0
    while abs(count) >= 1024 and power < len(units) - 1:
        count /= 1024
        power += 1
    number = f"{count:.0f}" if power == 0 or count >= 99.95 or count == int(count) else f"{count:.1f}"
    text = f"{number} {units[power]}".rstrip()
    return f"{text}/s" if per_second else text


EPOCH = datetime.fromtimestamp(0, UTC)


def local_clock(then: datetime, zone: Any = None) -> str:
    """`12:04:31` in the viewer's zone."""
    return then.astimezone(zone).strftime("%H:%M:%S")


def widths(columns: Sequence[Column[Any]], room: int) -> list[tuple[Column[Any], int]]:
    """Which columns fit into `room` cells and how wide each is, one blank between them; core columns come first."""
    chosen = [c for c in columns if c.core]
    taken = sum(c.width + 1 for c in chosen)
    for column in columns:
        if not column.core and taken + column.width + 1 <= room:
            chosen.append(column)
            taken += column.width + 1
        elif not column.core:
            break
    shown = [c for c in columns if c in chosen]
    if taken > room:
        return _squeezed(shown, taken - room)
    spare = room - taken
    shares = sum(c.grows for c in shown)
    out: list[tuple[Column[Any], int]] = []
    for column in shown:
        extra = spare * column.grows // shares if shares else 0
        out.append((column, column.width + extra))
    return out


_NARROWEST = 7


def _squeezed(columns: list[Column[Any]], surplus: int) -> list[tuple[Column[Any], int]]:
    """Takes a cell from the widest columns in turn until they fit or are as narrow as makes sense."""
    sizes = [c.width for c in columns]
    while surplus > 0:
        widest = max(range(len(sizes)), key=lambda i: sizes[i], default=-1)
        if widest < 0 or sizes[widest] <= _NARROWEST:
            break
        sizes[widest] -= 1
        surplus -= 1
    return list(zip(columns, sizes, strict=True))

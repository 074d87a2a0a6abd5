"""What goes to the terminal: only cells that changed, with no more colour sequences than needed.

The framework repaints whole widgets' lines and sets every colour anew for every piece, which over SSH is most of what
is sent. `Wire` remembers what the terminal shows, and lets through what differs (`ux.md` 17). Sequences that it does
not know go through unchanged; after those that may move or clear cells it knows nothing of the screen any more.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from kvtui.tui.columns.cell import width_of

_TOKENS = re.compile(
    r"\x1b\[(?P<params>[\d;]*)(?P<final>[mH])"
    r"|(?P<mode>\x1b\[[?>=][\d;]*[\$ ]?[a-zA-Z])"
    r"|(?P<other>\x1b(?:\[[\d;:]*[ -/]*[@-~]|[\]PX^_][^\x1b\x07]*(?:\x1b\\|\x07)|.)|[\x00-\x09\x0b\x0c\x0e-\x1f\x7f])"
    r"|(?P<line>[\r\n]+)"
    r"|(?P<text>[^\x00-\x1f\x7f]+)",
    re.DOTALL,
)
_SCREENS = ("\x1b[?1049", "\x1b[?1047", "\x1b[?47")
"""Modes that change what is on the screen."""
_EMPTY_FRAME = "\x1b[?2026h\x1b[?2026l"
_NEAR = 5
"""Cells that are sent again rather than jumped over."""


class Style(NamedTuple):
    """Colours and attributes as the parameters that set them; empty where the terminal's own."""

    foreground: str = ""
    background: str = ""
    attributes: frozenset[str] = frozenset()


_Cell = tuple[str, Style]
_Row = list[_Cell | None]
_PLAIN = Style()
_SHOWN_ON_BLANKS = frozenset({"4", "7", "9", "21", "53"})
"""Attributes (lines, reverse) that make a foreground visible where nothing is written."""
_UNKNOWN = Style("?")
"""What no style equals."""
_TAIL = ("", _PLAIN)
"""The second cell of a wide character."""


class Wire:
    """A filter for one terminal. Not thread-safe."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._at = (0, 0)
        self._style = _PLAIN
        self._sent_at: tuple[int, int] | None = None
        self._sent_style = _UNKNOWN

    def forget(self) -> None:
        """The terminal may show anything, as after a resize."""
        self._rows.clear()
        self._sent_at, self._sent_style = None, _UNKNOWN

    def filter(self, data: str) -> str:
        """What has to be sent so that the terminal shows what it would after `data`."""
        out: list[str] = []
        for token in _TOKENS.finditer(data):
            match token.lastgroup:
                case "text":
                    self._write(token[0], out)
                case "final" if token["final"] == "m":
                    self._style = styled(self._style, token["params"])
                case "final":
                    row, _, column = token["params"].partition(";")
                    self._at = (max(1, int(column or 1)) - 1, max(1, int(row or 1)) - 1)
                case "line":
                    self._at = (0, self._at[1] + token[0].count("\n"))
                case "mode" if not token[0].startswith(_SCREENS):
                    out.append(token[0])
                case _:
                    self._let_through(token[0], out)
        self._move(self._at, out)
        return "".join(out).replace(_EMPTY_FRAME, "")

    def _let_through(self, sequence: str, out: list[str]) -> None:
        self._move(self._at, out)
        self._colour(self._style, out)
        out.append(sequence)
        if not sequence.startswith(("\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x07")):
            self.forget()

    def _write(self, text: str, out: list[str]) -> None:
        x, y = self._at
        new = _cells(text, self._style)
        row = self._rows.setdefault(y, [])
        row.extend([None] * (x + len(new) - len(row)))
        self._at = (x + len(new), y)
        if row[x : x + len(new)] == new:
            return
        for start, end in _runs(row[x : x + len(new)], new):
            self._near(row, (x + start, y), out)
            changed = "".join(cell[0] for cell in new[start:end])
            self._colour(self._blank_style() if not changed.strip(" ") else self._style, out)
            out.append(changed)
            self._sent_at = (x + end, y)
        # Half a wide character does not stay.
        if x and row[x] == _TAIL:
            row[x - 1] = None
        if len(row) > x + len(new) and row[x + len(new)] == _TAIL:
            row[x + len(new)] = None
        row[x : x + len(new)] = new

    def _blank_style(self) -> Style:
        """What blanks are written in: the foreground may stay as it is where it is not seen."""
        if self._sent_style is _UNKNOWN or self._style.attributes & _SHOWN_ON_BLANKS:
            return self._style
        return self._style._replace(foreground=self._sent_style.foreground)

    def _near(self, row: _Row, to: tuple[int, int], out: list[str]) -> None:
        """Goes there; over a few known cells of the current colour by writing them again."""
        x, y = to
        if self._sent_at is not None and self._sent_at[1] == y and 0 < x - self._sent_at[0] <= _NEAR:
            between = row[self._sent_at[0] : x]
            known = [cell for cell in between if cell is not None and cell[0]]
            if len(known) == len(between) and all(cell == _cell(cell[0], self._sent_style) for cell in known):
                out.append("".join(cell[0] for cell in known))
                self._sent_at = to
        self._move(to, out)

    def _move(self, to: tuple[int, int], out: list[str]) -> None:
        if self._sent_at != to:
            out.append(f"\x1b[{to[1] + 1};{to[0] + 1}H")
            self._sent_at = to

    def _colour(self, style: Style, out: list[str]) -> None:
        if style != self._sent_style:
            out.append(change(self._sent_style, style))
            self._sent_style = style


def _cell(char: str, style: Style) -> _Cell:
    """A blank looks the same whatever its foreground."""
    return (
        (char, style._replace(foreground=""))
        if char == " " and not style.attributes & _SHOWN_ON_BLANKS
        else (char, style)
    )


def _cells(text: str, style: Style) -> list[_Cell]:
    if text.isascii():
        blank = _cell(" ", style)
        return [blank if char == " " else (char, style) for char in text]
    cells: list[_Cell] = []
    for char in text:
        width = width_of(char)
        if width == 0 and cells:
            at = next((n for n in range(len(cells) - 1, -1, -1) if cells[n] != _TAIL), 0)
            cells[at] = (cells[at][0] + char, style)
        else:
            cells += [_cell(char, style), *[_TAIL] * (width - 1)]
    return cells


def _runs(old: _Row, new: list[_Cell]) -> list[tuple[int, int]]:
    """Where they differ, as (first, one past the last); runs that are near each other are joined."""
    differs = [before != after for before, after in zip(old, new, strict=True)]
    for index, cell in enumerate(new):
        if cell == _TAIL and (differs[index] or differs[index - 1]):
            differs[index - 1] = differs[index] = True
    runs: list[tuple[int, int]] = []
    for index in (n for n, differing in enumerate(differs) if differing):
        if runs and index - runs[-1][1] <= _NEAR:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs


@lru_cache(maxsize=4096)
def styled(style: Style, params: str) -> Style:
    """The style after a sequence of graphic renditions (ECMA-48 8.3.117, and 38/48 of ITU-T T.416)."""
    foreground, background, attributes = style
    numbers = (params or "0").split(";")
    while numbers:
        number = numbers.pop(0)
        value = int(number or 0)
        if value in (38, 48):
            taken = 4 if numbers[:1] == ["2"] else 2
            colour = ";".join([number, *numbers[:taken]])
            del numbers[:taken]
            foreground, background = (colour, background) if value == 38 else (foreground, colour)
        elif value == 0:
            foreground, background, attributes = _PLAIN
        elif 30 <= value <= 37 or 90 <= value <= 97:
            foreground = number
        elif 40 <= value <= 47 or 100 <= value <= 107:
            background = number
        elif value == 39:
            foreground = ""
        elif value == 49:
            background = ""
        elif value in _ENDS:
            attributes -= _ENDS[value]
        else:
            attributes |= {number}
    return Style(foreground, background, attributes)


_ENDS = {22: {"1", "2"}, 23: {"3"}, 24: {"4", "21"}, 25: {"5", "6"}, 27: {"7"}, 28: {"8"}, 29: {"9"}}
"""Parameter that ends attributes -> those."""


@lru_cache(maxsize=4096)
def change(before: Style, after: Style) -> str:
    """The shortest sequence from one style to the other."""
    whole = ["0", *sorted(after.attributes), after.foreground, after.background]
    if before is _UNKNOWN or before.attributes - after.attributes:
        return _sequence(whole)
    parts = sorted(after.attributes - before.attributes)
    if before.foreground != after.foreground:
        parts.append(after.foreground or "39")
    if before.background != after.background:
        parts.append(after.background or "49")
    return min(_sequence(parts), _sequence(whole), key=len)


def _sequence(parts: list[str]) -> str:
    return f"\x1b[{';'.join(part for part in parts if part)}m"


class QuietDriver(LinuxDriver):
    """The framework's driver behind a `Wire`."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.wire = Wire()

    def write(self, data: str) -> None:
        quiet = self.wire.filter(data)
        if quiet:
            super().write(quiet)


def forget(app: App[Any]) -> None:
    """The next paint sends everything, because the terminal may show something else than was sent."""
    if isinstance(app._driver, QuietDriver):
        app._driver.wire.forget()

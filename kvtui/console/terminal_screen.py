"""pyte's screen with what a hostile or modern guest needs: bounded state, alternate screen, scrollback.

pyte keeps the cells; sequences come from our own parser (`terminal_parser`), since pyte's reader accepts parameters
and strings of any length. Dim text is kept as a prefix of the foreground colour, for which pyte has free text.

Source: https://pyte.readthedocs.io; https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
"""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pyte import charsets
from pyte import modes as pyte_modes
from pyte.screens import Char, Cursor, Margins, Screen, StaticDefaultDict
from wcwidth import wcwidth

from kvtui.console.terminal import PLAIN, Run, TextStyle

MAX_COMBINED = 4
"""Characters of one cell, combining ones included."""
DIM = "dim:"
_BLANK = Char(" ")
_MAX_CACHED = 4096

_width: Callable[[str], int] = lru_cache(maxsize=8192)(wcwidth)

Line = StaticDefaultDict[int, Char]


@dataclass(slots=True)
class _Main:
    """The main screen while the alternate one shows."""

    buffer: dict[int, Line]
    cursor: Cursor
    rows: int


def style_of(char: Char) -> TextStyle:
    """The look of a cell."""
    foreground = char.fg
    dim = foreground.startswith(DIM)
    foreground = foreground.removeprefix(DIM)
    return TextStyle(
        foreground="" if foreground == "default" else foreground,
        background="" if char.bg == "default" else char.bg,
        bold=char.bold,
        dim=dim,
        italic=char.italics,
        underline=char.underscore,
        strike=char.strikethrough,
        reverse=char.reverse,
        blink=char.blink,
    )


_cached_style: Callable[[Char], TextStyle] = lru_cache(maxsize=1024)(style_of)


def runs_of(line: Line | None, columns: int) -> list[Run]:
    """The cells of a line as runs; blank cells without style at its end are left out."""
    if not line:
        return []
    last = min(max(line), columns - 1)
    runs: list[Run] = []
    text: list[str] = []
    look: tuple[Any, ...] | None = None
    sample = _BLANK
    for x in range(last + 1):
        char = line[x]
        if char[1:] != look:
            if text:
                runs.append(Run("".join(text), _cached_style(sample)))
            text, look, sample = [], char[1:], char._replace(data=" ")
        text.append(char.data)
    runs.append(Run("".join(text), _cached_style(sample)))
    if runs[-1].style == PLAIN:
        rest = runs.pop().text.rstrip(" ")
        if rest:
            runs.append(Run(rest))
    return runs


class BoundedScreen(Screen):
    """Columns and lines as pyte has them; `history` holds what left the top, `scrolled` counts it."""

    def __init__(self, columns: int, lines: int, scrollback: int) -> None:
        self.history: deque[list[Run]] = deque(maxlen=scrollback)
        self.scrolled = 0
        self.last_text = ""
        self._main: _Main | None = None
        self._saved: tuple[Cursor, int, str, str] | None = None
        self._cells: dict[Char, dict[str, Char]] = {}
        super().__init__(columns, lines)

    @property
    def alternate(self) -> bool:
        return self._main is not None

    def reset(self) -> None:
        self._main = None
        self._saved = None
        super().reset()

    # Text

    def draw(self, data: str) -> None:
        charset = self.g1_charset if self.charset else self.g0_charset
        if charset is not charsets.LAT1_MAP:
            data = data.translate(charset)
        cursor = self.cursor
        cells = self._cells_of(cursor.attrs)
        insert = pyte_modes.IRM in self.mode
        for char in data:
            width = 1 if " " <= char < "\x7f" else _width(char)
            if width <= 0:
                if width == 0 and unicodedata.combining(char):
                    self._combine(char)
                continue
            if cursor.x + width > self.columns:
                if pyte_modes.DECAWM in self.mode:
                    self.dirty.add(cursor.y)
                    cursor.x = 0
                    self.index()
                else:
                    cursor.x = max(0, self.columns - width)
            if insert:
                self.insert_characters(width)
            line = self.buffer[cursor.y]
            self._unsplit(line, cursor.x, width)
            line[cursor.x] = cells.get(char) or self._cell(cells, char)
            if width == 2:
                line[cursor.x + 1] = cells.get("") or self._cell(cells, "")
            cursor.x += width
        self.dirty.add(cursor.y)
        self.last_text = data[-1:] or self.last_text

    def _cells_of(self, attrs: Char) -> dict[str, Char]:
        """Cells of the current look by character: building a named tuple per character would be the slowest step."""
        cells = self._cells.get(attrs)
        if cells is None:
            if len(self._cells) > 64:
                self._cells.clear()
            cells = self._cells[attrs] = {}
        return cells

    def _cell(self, cells: dict[str, Char], char: str) -> Char:
        if len(cells) > _MAX_CACHED:
            cells.clear()
        cell = cells[char] = self.cursor.attrs._replace(data=char)
        return cell

    def _unsplit(self, line: Line, x: int, width: int) -> None:
        """Half of a wide character must not stay when the other half is written over."""
        if x in line and line[x].data == "" and x > 0:
            line[x - 1] = line[x - 1]._replace(data=" ")
        end = x + width
        if end in line and line[end].data == "":
            line[end] = line[end]._replace(data=" ")

    def _combine(self, char: str) -> None:
        x, y = self.cursor.x - 1, self.cursor.y
        if x < 0:
            return
        line = self.buffer[y]
        if line[x].data == "" and x > 0:
            x -= 1
        joined = unicodedata.normalize("NFC", line[x].data + char)
        if len(joined) <= MAX_COMBINED:
            line[x] = line[x]._replace(data=joined)
            self.dirty.add(y)

    # Scrolling

    def index(self) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == bottom and top == 0 and self._main is None:
            self._keep(self.buffer.get(0))
        if self.cursor.y == bottom:
            self.dirty.update(range(top, bottom + 1))
            self._shift(top, bottom)
        else:
            self.cursor_down()

    def scroll_up(self, count: int) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        for _ in range(min(count, bottom - top + 1)):
            if top == 0 and self._main is None:
                self._keep(self.buffer.get(0))
            self._shift(top, bottom)
        self.dirty.update(range(top, bottom + 1))

    def scroll_down(self, count: int) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        for _ in range(min(count, bottom - top + 1)):
            for y in range(bottom, top, -1):
                self._move_line(y - 1, y)
            self.buffer.pop(top, None)
        self.dirty.update(range(top, bottom + 1))

    def _shift(self, top: int, bottom: int) -> None:
        for y in range(top, bottom):
            self._move_line(y + 1, y)
        self.buffer.pop(bottom, None)

    def _move_line(self, source: int, target: int) -> None:
        line = self.buffer.pop(source, None)
        if line is None:
            self.buffer.pop(target, None)
        else:
            self.buffer[target] = line

    def _keep(self, line: Line | None) -> None:
        self.history.append(runs_of(line, self.columns))
        self.scrolled += 1

    # Erasing: the background colour fills, other attributes do not.

    def _eraser(self) -> Char:
        return _BLANK if self.cursor.attrs.bg == "default" else Char(" ", bg=self.cursor.attrs.bg)

    def _erase(self, y: int, start: int, end: int) -> None:
        blank = self._eraser()
        self.dirty.add(y)
        if blank is _BLANK and start == 0 and end >= self.columns:
            self.buffer.pop(y, None)
            return
        line = self.buffer[y]
        for x in range(start, end):
            line[x] = blank

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        x = min(self.cursor.x, self.columns - 1)
        start, end = {0: (x, self.columns), 1: (0, x + 1)}.get(how, (0, self.columns))
        self._erase(self.cursor.y, start, end)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if how == 3:
            return  # would erase the viewer's scrollback, which the guest does not own
        y = self.cursor.y
        for row in {0: range(y + 1, self.lines), 1: range(y)}.get(how, range(self.lines)):
            self._erase(row, 0, self.columns)
        if how in (0, 1):
            self.erase_in_line(how)

    def erase_characters(self, count: int | None = None) -> None:
        x = min(self.cursor.x, self.columns - 1)
        self._erase(self.cursor.y, x, min(x + (count or 1), self.columns))

    # Cursor

    def save_cursor(self) -> None:
        cursor = self.cursor
        copy = Cursor(cursor.x, cursor.y, cursor.attrs)
        self._saved = (copy, self.charset, self.g0_charset, self.g1_charset)

    def restore_cursor(self) -> None:
        hidden = self.cursor.hidden
        saved, self.charset, self.g0_charset, self.g1_charset = self._saved or (
            Cursor(0, 0),
            0,
            charsets.LAT1_MAP,
            charsets.VT100_MAP,
        )
        self.cursor = Cursor(saved.x, saved.y, saved.attrs)
        self.cursor.hidden = hidden
        self.ensure_hbounds()
        self.ensure_vbounds()

    def cursor_to_line(self, line: int | None = None) -> None:
        top = self.margins.top if self.margins is not None and pyte_modes.DECOM in self.mode else 0
        self.cursor.y = (line or 1) - 1 + top
        self.ensure_vbounds()

    def back_tab(self, count: int) -> None:
        for _ in range(min(count, self.columns)):
            self.cursor.x = max((s for s in self.tabstops if s < self.cursor.x), default=0)

    # Whole screens

    def show_alternate(self) -> None:
        if self._main is not None:
            return
        cursor = Cursor(self.cursor.x, self.cursor.y, self.cursor.attrs)
        self._main = _Main(dict(self.buffer), cursor, self.lines)
        self.buffer.clear()
        self.dirty.update(range(self.lines))

    def show_main(self) -> None:
        main = self._main
        if main is None:
            return
        self._main = None
        hidden = self.cursor.hidden
        surplus = max(0, main.rows - self.lines)
        for y in range(surplus):
            self._keep(main.buffer.get(y))
        self.buffer.clear()
        self.buffer.update({y - surplus: line for y, line in main.buffer.items() if y >= surplus})
        self.cursor = Cursor(main.cursor.x, max(0, main.cursor.y - surplus), main.cursor.attrs)
        self.cursor.hidden = hidden
        self.ensure_hbounds()
        self.ensure_vbounds()
        self.dirty.update(range(self.lines))

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        lines, columns = lines or self.lines, columns or self.columns
        surplus = max(0, self.cursor.y + 1 - lines)
        for _ in range(surplus):
            if self._main is None:
                self._keep(self.buffer.get(0))
            self._shift(0, self.lines - 1)
        for y in [y for y in self.buffer if y >= lines]:
            del self.buffer[y]
        for line in self.buffer.values():
            for x in [x for x in line if x >= columns]:
                del line[x]
        self.tabstops |= set(range(8, columns, 8))
        self.lines, self.columns, self.margins = lines, columns, None
        self.cursor.y -= surplus
        self.ensure_hbounds()
        self.ensure_vbounds()
        self.dirty = set(range(lines))

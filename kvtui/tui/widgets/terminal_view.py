"""A terminal on the line API: the guest's screen, or a window on its scrollback. Guest text is drawn, never passed on.

Changed rows are gathered and drawn at most thirty times a second, so that a guest that floods its console cannot flood
the wire.
"""

from __future__ import annotations

from rich.color import Color, ColorParseError
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from kvtui.console.terminal import Run, Terminal, TextStyle
from kvtui.tui.columns.cell import width_of

_FRAME = 1 / 30


class TerminalView(Widget):
    """Shows a terminal. `offset` lines above the live screen are shown when reading the scrollback."""

    COMPONENT_CLASSES = {"terminal--text", "terminal--match"}
    DEFAULT_CSS = """
    TerminalView { width: 1fr; height: 1fr; background: $kv-background; color: $kv-text; }
    TerminalView > .terminal--text { color: $kv-text; }
    TerminalView > .terminal--match { color: $kv-mark; text-style: reverse; }
    """

    class Sized(Message):
        """The view has another size; the terminal was given it too."""

        def __init__(self, rows: int, columns: int) -> None:
            super().__init__()
            self.rows = rows
            self.columns = columns

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(id="terminal")
        self.terminal = terminal
        self.scroll = 0
        """Lines above the live screen."""
        self.searched = ""
        self.show_cursor = True
        self._held_at = 0
        self._dirty: set[int] = set()
        self._timer: Timer | None = None
        self._rich: dict[TextStyle, Style] = {}

    # Content

    def show_terminal(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.scroll = 0
        if self.size.height:
            terminal.resize(self.size.height, self.size.width)
        self.refresh()

    def changed(self, rows: set[int]) -> None:
        """Rows of the live screen look different."""
        if self.scroll:
            # The reader's lines stay where they are while new ones come in below.
            moved = self.terminal.scrolled - self._held_at
            self._held_at = self.terminal.scrolled
            self.scroll = min(self.scroll + moved, self.terminal.history)
            return
        self._dirty |= rows
        if self._timer is None and rows:
            self._timer = self.set_timer(_FRAME, self._draw)

    def _draw(self) -> None:
        self._timer = None
        rows, self._dirty = self._dirty, set()
        width = self.size.width
        self.refresh(*(Region(0, y, width, 1) for y in rows if y < self.size.height))

    # Scrollback

    def scroll_lines(self, up: int) -> None:
        """Positive numbers go back in time."""
        self._held_at = self.terminal.scrolled
        self.scroll = max(0, min(self.terminal.history, self.scroll + up))
        self.refresh()

    def live(self) -> None:
        self.scroll = 0
        self.searched = ""
        self.refresh()

    def search(self, text: str, *, forwards: bool = False) -> bool:
        """Goes to the next line above (or below) with the text. False when there is none."""
        self.searched = text or self.searched
        needle = self.searched.casefold()
        terminal = self.terminal
        top = -self.scroll
        numbers = range(top + 1, terminal.rows) if forwards else range(top - 1, -terminal.history - 1, -1)
        for number in numbers:
            if needle and needle in terminal.text(number).casefold():
                self.scroll = 0
                self.scroll_lines(-min(0, number))
                return True
        self.refresh()
        return False

    def visible_text(self) -> str:
        """What stands on the view, line by line."""
        return "\n".join(self.terminal.text(self._number(y)) for y in range(min(self.size.height, self.terminal.rows)))

    def _number(self, y: int) -> int:
        return y - self.scroll

    # Drawing

    def on_resize(self, event: events.Resize) -> None:
        rows, columns = max(1, event.size.height), max(1, event.size.width)
        self.terminal.resize(rows, columns)
        self.refresh()
        self.post_message(self.Sized(rows, columns))

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._rich.clear()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        base = self.get_component_rich_style("terminal--text")
        number = self._number(y)
        if number >= self.terminal.rows or number < -self.terminal.history:
            return Strip.blank(width, base)
        runs = self.terminal.line(number)
        segments = [Segment(run.text, self._style(run.style, base)) for run in runs]
        if self.searched:
            segments = self._with_matches(runs, base)
        taken = sum(width_of(segment.text) for segment in segments)
        if taken < width:
            segments.append(Segment(" " * (width - taken), base))
        strip = Strip(segments, max(taken, width)).crop(0, width)
        cursor = self.terminal.cursor
        if self.show_cursor and not self.scroll and cursor.visible and cursor.row == y and cursor.column < width:
            strip = _with_cursor(strip, cursor.column, width)
        return strip

    def _with_matches(self, runs: list[Run], base: Style) -> list[Segment]:
        match = self.get_component_rich_style("terminal--match")
        needle = self.searched.casefold()
        segments = []
        for run in runs:
            rest, style = run.text, self._style(run.style, base)
            while (at := rest.casefold().find(needle)) >= 0:
                segments += [Segment(rest[:at], style), Segment(rest[at : at + len(needle)], match)]
                rest = rest[at + len(needle) :]
            segments.append(Segment(rest, style))
        return segments

    def _style(self, look: TextStyle, base: Style) -> Style:
        style = self._rich.get(look)
        if style is None:
            if len(self._rich) > 512:
                self._rich.clear()
            style = self._rich[look] = base + Style(
                color=_color(look.foreground),
                bgcolor=_color(look.background),
                bold=look.bold or None,
                dim=look.dim or None,
                italic=look.italic or None,
                underline=look.underline or None,
                strike=look.strike or None,
                reverse=look.reverse or None,
                blink=None,
            )
        return style


def _color(text: str) -> Color | None:
    try:
        return Color.parse(text) if text else None
    except ColorParseError:
        return None


def _with_cursor(strip: Strip, column: int, width: int) -> Strip:
    left, cell, right = strip.divide([column, min(column + 1, width), width])
    return Strip.join([left, cell.apply_style(Style(reverse=True)), right])

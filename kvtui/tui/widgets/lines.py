"""Widgets that draw lines themselves and repaint only what changed: the base of lists, panes and bars.

A line is a tuple of pieces (text, tone). `repaint` compares what should stand there with what was painted and refreshes
only the cells between the first and the last difference of each line, which is what keeps the wire quiet over SSH.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from kvtui.tui.columns.cell import Cell, clean, width_of

Pieces = tuple[tuple[str, str], ...]
"""Text and tone name."""

TONE_NAMES = (
    "text", "dim", "ok", "busy", "move", "warn", "fail", "hold", "off", "unknown", "accent", "strong",
    "cursor", "mark", "title", "title-focus", "rule", "rule-focus", "header", "header-sorted", "captured",
    "protected", "danger", "key", "add", "del", "match",
)  # fmt: skip

_PLAIN = frozenset({"text", "dim", "header", "title"})
"""Tones on which a blank looks the same in every theme; a blank between two of them starts no new piece."""


class Lines(Widget):
    """Subclasses say with `pieces_of` what stands on each line."""

    COMPONENT_CLASSES = {f"tone--{name}" for name in TONE_NAMES}

    DEFAULT_CSS = """
    Lines { background: $kv-background; color: $kv-text; }
    Lines > .tone--text { color: $kv-text; }
    Lines > .tone--strong { color: $kv-text; text-style: bold; }
    Lines > .tone--dim { color: $kv-text-dim; text-style: $kv-text-dim-style; }
    Lines > .tone--accent { color: $kv-accent; text-style: $kv-accent-style; }
    Lines > .tone--ok { color: $kv-state-ok; text-style: $kv-state-ok-style; }
    Lines > .tone--busy { color: $kv-state-busy; text-style: $kv-state-busy-style; }
    Lines > .tone--move { color: $kv-state-move; text-style: $kv-state-move-style; }
    Lines > .tone--warn { color: $kv-state-warn; text-style: $kv-state-warn-style; }
    Lines > .tone--fail { color: $kv-state-fail; text-style: $kv-state-fail-style; }
    Lines > .tone--hold { color: $kv-state-hold; text-style: $kv-state-hold-style; }
    Lines > .tone--off { color: $kv-state-off; text-style: $kv-state-off-style; }
    Lines > .tone--unknown { color: $kv-state-unknown; text-style: $kv-state-unknown-style; }
    Lines > .tone--cursor { color: $kv-text; text-style: reverse; }
    Lines > .tone--mark { color: $kv-mark; text-style: $kv-mark-style; }
    Lines > .tone--title { color: $kv-text-dim; text-style: $kv-text-dim-style; }
    Lines > .tone--title-focus { color: $kv-text; text-style: bold; }
    Lines > .tone--rule { color: $kv-border; text-style: $kv-border-style; }
    Lines > .tone--rule-focus { color: $kv-border-focus; text-style: $kv-border-focus-style; }
    Lines > .tone--header { color: $kv-text-dim; text-style: $kv-text-dim-style; }
    Lines > .tone--header-sorted { color: $kv-text-dim; text-style: bold; }
    Lines > .tone--captured { color: $kv-captured; text-style: $kv-captured-style; }
    Lines > .tone--protected { color: $kv-protected; text-style: $kv-protected-style; }
    Lines > .tone--danger { color: $kv-danger; text-style: $kv-danger-style; }
    Lines > .tone--key { color: $kv-accent; text-style: bold; }
    Lines > .tone--add { color: $kv-diff-add; text-style: $kv-diff-add-style; }
    Lines > .tone--del { color: $kv-diff-del; text-style: $kv-diff-del-style; }
    Lines > .tone--match { color: $kv-mark; text-style: reverse; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._painted: list[Pieces] = []
        self._styles: dict[str, Style] = {}

    def pieces_of(self, y: int) -> Sequence[Cell]:
        """What stands on line `y` of the widget; missing cells are blank."""
        raise NotImplementedError

    def repaint(self) -> None:
        """Refreshes the cells that differ from what was painted. Cheap when nothing changed."""
        width, height = self.size
        if not self.is_mounted or width <= 0 or height <= 0:
            return
        lines = [_pieces(self.pieces_of(y), width) for y in range(height)]
        old = self._painted
        self._painted = lines
        regions = []
        for y, line in enumerate(lines):
            before = old[y] if y < len(old) else ()
            if line != before:
                start, end = changed_span(before, line, width)
                regions.append(Region(start, y, end - start, 1))
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._painted):
            self._painted = [_pieces(self.pieces_of(n), width) for n in range(self.size.height)]
        pieces = self._painted[y] if y < len(self._painted) else ()
        segments, taken = [], 0
        for text, tone in pieces:
            segments.append(Segment(text, self._style(tone)))
            taken += width_of(text)
        if taken < width:
            segments.append(Segment(" " * (width - taken), self._style("text")))
        return Strip(segments, max(taken, width))

    def on_resize(self, event: events.Resize) -> None:
        self._painted = []
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()

    def _style(self, tone: str) -> Style:
        style = self._styles.get(tone)
        if style is None:
            style = self._styles[tone] = self.get_component_rich_style(f"tone--{tone}")
        return style


def _pieces(cells: Sequence[Cell], width: int) -> Pieces:
    """Adjacent pieces of one tone joined, and the line cut to the width."""
    out: list[tuple[str, str]] = []
    room = width
    for cell in cells:
        text = clean(cell.text)
        taken = width_of(text)
        if taken > room:
            text = _cut(text, room)
            taken = width_of(text)
        if not text:
            continue
        room -= taken
        tone = str(cell.tone)
        if out and (out[-1][1] == tone or (text.isspace() and out[-1][1] in _PLAIN and tone in _PLAIN)):
            out[-1] = (out[-1][0] + text, out[-1][1])
        else:
            out.append((text, tone))
    return tuple(out)


def _cut(text: str, room: int) -> str:
    kept = ""
    for char in text:
        if width_of(kept + char) > room:
            break
        kept += char
    return kept


def changed_span(old: Pieces, new: Pieces, width: int) -> tuple[int, int]:
    """First and one past the last cell that differ between two lines of `width` cells."""
    before, after = _cells(old, width), _cells(new, width)
    start = 0
    while start < width and before[start] == after[start]:
        start += 1
    end = width
    while end > start and before[end - 1] == after[end - 1]:
        end -= 1
    return start, end


def _cells(pieces: Pieces, width: int) -> list[tuple[str, str]]:
    cells: list[tuple[str, str]] = []
    for text, tone in pieces:
        if text.isascii():
            cells += [(char, tone) for char in text]
            continue
        for char in text:
            taken = width_of(char)
            cells += [(char, tone)] * taken
    cells += [(" ", "text")] * (width - len(cells))
    return cells[:width]

"""A pane of lines with a title, tabs, scrolling and search: details, YAML, describe, help, jobs and log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvtui.tui.columns.cell import Cell, Line, Tone
from kvtui.tui.glyphs import Glyphs
from kvtui.tui.widgets.lines import Lines


class TextPane(Lines):
    """Line 0 is the title with its tabs; the rest is a window on the text."""

    def __init__(self, glyphs: Callable[[], Glyphs], *, id: str, titled: bool = True) -> None:
        super().__init__(id=id)
        self._glyphs = glyphs
        self._titled = titled
        self._lines: list[Line] = []
        self._title = ""
        self._tabs: tuple[str, ...] = ()
        self._tab = ""
        self._searched = ""
        self.top = 0
        self.left = 0
        self.focused_pane = False

    # Content

    def put(self, lines: list[Line], *, title: str = "", tabs: tuple[str, ...] = (), tab: str = "") -> None:
        """Other text. The position stays while title and tab are the same."""
        if (title, tab) != (self._title, self._tab):
            self.top = self.left = 0
        self._lines, self._title, self._tabs, self._tab = lines, title, tabs, tab
        self.top = max(0, min(self.top, self._last_top()))
        self.repaint()

    @property
    def text(self) -> str:
        """The whole text, also what is scrolled away."""
        return "\n".join(line.text for line in self._lines)

    def set_focused(self, focused: bool) -> None:
        if focused != self.focused_pane:
            self.focused_pane = focused
            self.repaint()

    # Moving

    @property
    def page(self) -> int:
        return max(1, self.size.height - self._titled)

    def _last_top(self) -> int:
        return max(0, len(self._lines) - self.page)

    def scroll_lines(self, steps: int) -> None:
        self.top = max(0, min(self.top + steps, self._last_top()))
        self.repaint()

    def scroll_sideways(self, steps: int) -> None:
        self.left = max(0, self.left + steps)
        self.repaint()

    def search(self, text: str, *, backwards: bool = False) -> bool:
        """Goes to the next line with the text, around the end. False when there is none."""
        self._searched = text or self._searched
        needle = self._searched.casefold()
        count = len(self._lines)
        step = -1 if backwards else 1
        for offset in range(1, count + 1):
            index = (self.top + step * offset) % count
            if needle and needle in self._lines[index].text.casefold():
                self.top = min(index, self._last_top())
                self.repaint()
                return True
        return False

    # Drawing

    def pieces_of(self, y: int) -> Sequence[Cell]:
        if self._titled:
            if y == 0:
                return self._heading()
            y -= 1
        index = self.top + y
        if index >= len(self._lines):
            return ()
        pieces = self._lines[index].pieces
        if self.left:
            pieces = _shifted(pieces, self.left)
        return (Cell(" "), *self._marked(pieces))

    def _marked(self, pieces: tuple[Cell, ...]) -> Sequence[Cell]:
        """Matches of the search stand out."""
        needle = self._searched.casefold()
        if not needle:
            return pieces
        out: list[Cell] = []
        for piece in pieces:
            rest = piece.text
            while (at := rest.casefold().find(needle)) >= 0:
                out += [Cell(rest[:at], piece.tone), Cell(rest[at : at + len(needle)], "match")]
                rest = rest[at + len(needle) :]
            out.append(Cell(rest, piece.tone))
        return out

    def _heading(self) -> list[Cell]:
        rule = "rule-focus" if self.focused_pane else "rule"
        dash = self._glyphs().line
        pieces = [Cell(f"{dash}{dash} ", rule)]
        if self._title:
            tone = "title-focus" if self.focused_pane else "title"
            pieces += [Cell(self._title, tone), Cell(f" {dash}{dash} ", rule)]
        for tab in self._tabs:
            chosen = tab == self._tab
            pieces.append(Cell(f"[{tab}]" if chosen else f" {tab} ", "title-focus" if chosen else Tone.DIM))
        where = f" {self.top + self.page}/{len(self._lines)} " if len(self._lines) > self.page else ""
        used = sum(len(p.text) for p in pieces)
        pieces.append(Cell(" " + dash * max(0, self.size.width - used - len(where) - 3), rule))
        pieces += [Cell(where, Tone.DIM), Cell(dash * 2, rule)]
        return pieces


def _shifted(pieces: tuple[Cell, ...], left: int) -> tuple[Cell, ...]:
    out = []
    for piece in pieces:
        cut = piece.text[left:]
        left = max(0, left - len(piece.text))
        if cut:
            out.append(Cell(cut, piece.tone))
    return tuple(out)

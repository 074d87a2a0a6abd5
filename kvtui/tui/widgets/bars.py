"""One-line widgets: text at the left, text at the right, repainted by the cell."""

from __future__ import annotations

from collections.abc import Sequence

from kvtui.tui.columns.cell import Cell, width_of
from kvtui.tui.widgets.lines import Lines

Content = Sequence[Cell]


class Bar(Lines):
    """A line whose right part gives way last."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 1fr; }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._left: Content = ()
        self._right: Content = ()

    def put(self, left: Content, right: Content = ()) -> None:
        self._left, self._right = left, right
        self.repaint()

    @property
    def text(self) -> str:
        """What is written on it, for tests and readers."""
        left = "".join(c.text for c in self._left)
        right = "".join(c.text for c in self._right)
        return f"{left} {right}".strip()

    def pieces_of(self, y: int) -> Content:
        if y:
            return ()
        room = self.size.width
        right = sum(width_of(cell.text) for cell in self._right)
        left: list[Cell] = []
        taken = 0
        for cell in self._left:
            text = cell.text
            if taken + width_of(text) > room - right - 1 and right:
                text = text[: max(0, room - right - 1 - taken)]
            left.append(Cell(text, cell.tone))
            taken += width_of(text)
        gap = max(0, room - taken - right)
        return [*left, Cell(" " * gap), *self._right] if right else left


class Stack(Lines):
    """A few lines."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines: Sequence[Content] = []

    def put(self, lines: Sequence[Content]) -> None:
        self._lines = lines
        self.repaint()

    @property
    def text(self) -> str:
        return "\n".join("".join(c.text for c in line) for line in self._lines)

    def pieces_of(self, y: int) -> Content:
        return self._lines[y] if y < len(self._lines) else ()

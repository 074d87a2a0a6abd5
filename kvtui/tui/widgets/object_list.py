"""A list of any length on the line API: header row, cursor, marks, column scrolling.

It draws `top` to `top + height` of its collection and nothing else, so ten thousand rows cost what forty do. The cursor
belongs to an object: it stays on it when the order changes. A step over the edge scrolls by a third of a page, because
a scrolled list is repainted whole and a repaint per step would be felt over a slow line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textual import events
from textual.message import Message

from kvtui.api.wire import ObjectKey
from kvtui.tui.columns.cell import Cell, Column, Sight, Tone, fit, widths
from kvtui.tui.model.collection import Change, Collection
from kvtui.tui.model.rows import AnyRow
from kvtui.tui.widgets.lines import Lines

MARGIN = 3
"""Cells left of the first column: cursor, mark, blank."""
Placeholder = Callable[[], list[tuple[str, ...]]]


@dataclass(slots=True)
class Place:
    """Where the cursor stands in a collection and what is scrolled to."""

    key: ObjectKey | None = None
    index: int = 0
    """Where the key stood last; the cursor goes there when the object is gone."""
    top: int = 0
    first_column: int = 0
    follow: bool = False
    """Stays on the first row whatever comes, as a log does."""


class ObjectList(Lines):
    """Shows one collection at a time; each collection remembers its place."""

    class Moved(Message):
        """The cursor stands on another object, or on a new version of it."""

    def __init__(self, sight: Callable[[], Sight], placeholder: Placeholder) -> None:
        """`placeholder` gives the lines that are shown instead of rows when there are none."""
        super().__init__(id="list")
        self._sight = sight
        self._placeholder = placeholder
        self._collection: Collection[Any] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._places: dict[int, Place] = {}
        self._cells: dict[ObjectKey, tuple[AnyRow, tuple[Cell, ...]]] = {}
        self._layout: list[tuple[Column[Any], int]] = []
        self._hidden: frozenset[str] = frozenset()
        self._range_from: ObjectKey | None = None
        self.wide = True
        self.stale = False
        """Rows are dimmed: what they say may be old."""

    # What is shown

    @property
    def collection(self) -> Collection[Any] | None:
        return self._collection

    @property
    def place(self) -> Place:
        return self._places.setdefault(id(self._collection), Place())

    @property
    def row(self) -> AnyRow | None:
        """The row under the cursor."""
        if self._collection is None:
            return None
        found: AnyRow | None = self._collection.get(self.place.key)
        return found if self._collection.index_of(self.place.key) is not None else None

    def show(self, collection: Collection[Any], hidden: frozenset[str] = frozenset(), *, follow: bool = False) -> None:
        """Another collection, without the columns of these ids. `follow`: stays on the first row from the start."""
        self._places.setdefault(id(collection), Place(follow=follow))
        if collection is not self._collection:
            self._unsubscribe()
            self._collection = collection
            self._unsubscribe = collection.subscribe(self._changed)
            self._range_from = None
        self._hidden = hidden
        self._cells.clear()
        self._fit_columns()
        self._settle()
        self.repaint()

    def tick(self) -> None:
        """Time went on: ages and rates may read differently."""
        self._cells.clear()
        self.repaint()

    # Moving

    def move(self, steps: int) -> None:
        self.go(self.place.index + steps)

    def go(self, index: int) -> None:
        """To a row by number; beyond the ends counts as the end."""
        collection = self._collection
        if collection is None or not len(collection):
            return
        place = self.place
        place.follow = place.follow and index <= 0
        place.index = max(0, min(len(collection) - 1, index))
        place.key = collection.key_at(place.index)
        self._reveal(place)
        if self._range_from is not None:
            self._mark_range()
        self.repaint()
        self.post_message(self.Moved())

    def go_to(self, key: ObjectKey) -> bool:
        """To the row of an object. False when it is not in the list."""
        index = self._collection.index_of(key) if self._collection is not None else None
        if index is None:
            return False
        self.go(index)
        return True

    @property
    def page(self) -> int:
        return max(1, self.size.height - 1)

    def scroll_columns(self, steps: int) -> None:
        movable = [c for c in self._columns() if c.id not in ("name", "namespace", "vm")]
        place = self.place
        place.first_column = max(0, min(place.first_column + steps, max(0, len(movable) - 1)))
        self._fit_columns()
        self._cells.clear()
        self.repaint()

    def toggle_range(self) -> bool:
        """Starts or ends a range of marks at the cursor. True when one is started."""
        if self._range_from is not None:
            self._range_from = None
            return False
        self._range_from = self.place.key
        self._mark_range()
        return self._range_from is not None

    def end_range(self) -> None:
        self._range_from = None

    def _mark_range(self) -> None:
        collection = self._collection
        if collection is None:
            return
        start, end = collection.index_of(self._range_from), collection.index_of(self.place.key)
        if start is not None and end is not None:
            collection.mark(collection.key_at(i) for i in range(min(start, end), max(start, end) + 1))

    # Drawing

    def pieces_of(self, y: int) -> Sequence[Cell]:
        collection = self._collection
        if collection is None:
            return ()
        if y == 0:
            return self._header(collection)
        if not len(collection):
            return self._empty(y)
        index = self.place.top + y - 1
        return self._row(collection, index) if index < len(collection) else ()

    def _header(self, collection: Collection[Any]) -> list[Cell]:
        glyphs = self._sight().glyphs
        cells = [Cell(" " * MARGIN, "header")]
        for column, width in self._layout:
            sorted_by = column.id == collection.sort.column
            arrow = (glyphs.down if collection.sort.reverse else glyphs.up) if sorted_by else ""
            title = fit(f"{column.title}{arrow}", width, right=column.right)
            cells += [Cell(title, "header-sorted" if sorted_by else "header"), Cell(" ", "header")]
        return cells

    def _empty(self, y: int) -> Sequence[Cell]:
        lines = self._placeholder()
        start = max(2, min(4, self.size.height // 3))
        if not 0 <= y - start < len(lines):
            return ()
        text = "".join(lines[y - start])
        return (Cell(f"  {text}", Tone.TEXT if y == start else Tone.DIM),)

    def _row(self, collection: Collection[Any], index: int) -> list[Cell]:
        key = collection.key_at(index)
        place, glyphs = self.place, self._sight().glyphs
        here, marked = key == place.key, key in collection.marks
        cells = self._cells_of(collection, key)
        cursor, mark = glyphs.cursor if here else " ", glyphs.mark if marked else " "
        if here:
            text = " ".join(cell.text for cell in cells)
            return [Cell(fit(f"{cursor}{mark} {text}", self.size.width), "cursor")]
        pieces: list[Cell] = [Cell(" "), Cell(mark, "mark") if marked else Cell(" "), Cell(" ")]
        for cell in cells:
            tone = Tone.DIM if self.stale else cell.tone
            if cell.text.endswith(" "):
                bare = cell.text.rstrip(" ")
                pieces += [Cell(bare, tone), Cell(cell.text[len(bare) :] + " ")]
            else:
                pieces += [Cell(cell.text, tone), Cell(" ")]
        return pieces

    def _cells_of(self, collection: Collection[Any], key: ObjectKey) -> tuple[Cell, ...]:
        row: AnyRow | None = collection.get(key)
        known = self._cells.get(key)
        if known is not None and known[0] is row:
            return known[1]
        if row is None:
            return ()
        sight = self._sight()
        cells = []
        for column, width in self._layout:
            cell = column.cell(row, sight)
            cells.append(Cell(fit(cell.text, width, right=column.right), cell.tone))
        if len(self._cells) > 2000:
            self._cells.clear()
        self._cells[key] = (row, tuple(cells))
        return tuple(cells)

    # Inside

    def on_resize(self, event: events.Resize) -> None:
        self._fit_columns()
        self._cells.clear()
        self._reveal(self.place)

    def _columns(self) -> list[Column[Any]]:
        if self._collection is None:
            return []
        shown = [c for c in self._collection.columns if c.id not in self._hidden]
        return shown if self.wide else [c for c in shown if c.core]

    def _fit_columns(self) -> None:
        columns = self._columns()
        skip = self.place.first_column if self._collection is not None else 0
        if skip:
            fixed = [c for c in columns if c.id in ("name", "namespace", "vm")]
            columns = fixed + [c for c in columns if c not in fixed][skip:]
        self._layout = widths(columns, max(0, self.size.width - MARGIN))

    def _changed(self, change: Change) -> None:
        for key in change.keys:
            self._cells.pop(key, None)
        before = self.place.key
        if change.order:
            self._settle()
        self.repaint()
        if before != self.place.key or before in change.keys:
            self.post_message(self.Moved())

    def _settle(self) -> None:
        """Finds the cursor's object again; when it is gone the cursor takes the row that moved into its place."""
        collection, place = self._collection, self.place
        if collection is None or not len(collection):
            place.top = 0
            return
        index = 0 if place.follow else collection.index_of(place.key)
        if place.follow:
            place.key = collection.key_at(0)
        elif index is None:
            index = min(place.index, len(collection) - 1)
            place.key = collection.key_at(index)
        elif place.index != index and place.top:
            place.top = max(0, place.top + index - place.index)
        place.index = index or 0
        self._reveal(place)

    def _reveal(self, place: Place) -> None:
        collection, height = self._collection, self.page
        if collection is None:
            return
        jump = max(1, height // 3)
        if place.index < place.top:
            place.top = place.index if place.index < place.top - jump else place.top - jump
        elif place.index >= place.top + height:
            beyond = place.index - (place.top + height) + 1
            place.top += beyond if beyond > jump else jump
        last = max(0, len(collection) - height)
        place.top = max(0, min(place.top, last, place.index))

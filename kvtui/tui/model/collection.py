"""A list as the screen shows it: rows in order, filtered, marked; told what changed, and nothing more.

Changes of the caches are gathered and applied together on the next turn of the loop, so that a burst of ten thousand
objects costs one sort, and a single change costs two binary searches.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from kvtui.api.wire import ObjectKey
from kvtui.tui.columns.cell import Column, Sight
from kvtui.tui.model.filtering import EVERYTHING, Filter, Subject, parse
from kvtui.tui.model.rows import AnyRow

R = TypeVar("R", bound=AnyRow)
SortKey = tuple[bool, Any, str, str]
_BULK = 200
"""From so many changes on sorting anew is cheaper than inserting."""


@dataclass(frozen=True, slots=True)
class Sorting:
    """By which column, and in which direction."""

    column: str
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a collection."""

    keys: frozenset[ObjectKey]
    """Rows whose content changed; they may have come or gone."""
    order: bool
    """Rows came, went or moved."""


class Collection(Generic[R]):
    """Rows of one view. `build` makes the row of a key from the caches, or None when it is gone."""

    def __init__(
        self,
        columns: tuple[Column[R], ...],
        build: Callable[[ObjectKey], R | None],
        *,
        sort: Sorting,
        sight: Callable[[], Sight],
        extra: Callable[[R], Iterable[str]] = lambda row: (),
    ) -> None:
        """`extra` gives words that filters find though no column shows them."""
        self.columns = columns
        self.sort = sort
        self.filter: Filter = EVERYTHING
        self.namespaces: frozenset[str] = frozenset()
        """Empty: all."""
        self.marks: set[ObjectKey] = set()
        self.total = 0
        """Rows in scope before the filter."""
        self._build = build
        self._sight = sight
        self._extra = extra
        self._rows: dict[ObjectKey, R] = {}
        self._sort_keys: dict[ObjectKey, SortKey] = {}
        self._order: list[SortKey] = []
        self._subjects: dict[ObjectKey, tuple[R, Subject]] = {}
        self._pending: set[ObjectKey] = set()
        self._timer: asyncio.Handle | None = None
        self._listeners: list[Callable[[Change], None]] = []

    # Reading

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> R:
        return self._rows[self.key_at(index)]

    def get(self, key: ObjectKey | None) -> R | None:
        return self._rows.get(key) if key is not None else None

    def rows(self) -> Iterable[R]:
        """All rows, also those that the filter hides."""
        return self._rows.values()

    def key_at(self, index: int) -> ObjectKey:
        entry = self._order[-1 - index if self.sort.reverse else index]
        return ObjectKey(entry[2], entry[3])

    def index_of(self, key: ObjectKey | None) -> int | None:
        """Where the row of this key stands; None when it is hidden or gone."""
        entry = self._sort_keys.get(key) if key is not None else None
        if entry is None:
            return None
        place = bisect.bisect_left(self._order, entry)
        return len(self._order) - 1 - place if self.sort.reverse else place

    def column(self, name: str) -> Column[R] | None:
        wanted = name.lower()
        for column in self.columns:
            if wanted in (column.id, column.title.lower()):
                return column
        return next((c for c in self.columns if c.title.lower().startswith(wanted)), None)

    def hidden_marks(self) -> int:
        return sum(1 for key in self.marks if key not in self._sort_keys)

    def marked(self) -> list[R]:
        """Marked rows in the order of the list, hidden ones last."""
        shown = [key for key in map(self.key_at, range(len(self))) if key in self.marks]
        hidden = sorted(key for key in self.marks if key not in self._sort_keys)
        return [self._rows[key] for key in (*shown, *hidden) if key in self._rows]

    # Changing

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Returns a function that ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def touch(self, *keys: ObjectKey) -> None:
        """The rows of these keys may have changed; they are looked at on the next turn of the loop.

        Where no loop runs yet they wait for `flush`.
        """
        self._pending.update(keys)
        if self._timer is None and self._pending:
            try:
                self._timer = asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                return

    def touch_all(self) -> None:
        self.touch(*self._rows)

    def clear(self) -> None:
        self._rows.clear()
        self._subjects.clear()
        self._resort()

    def flush(self) -> None:
        """Applies what is pending and tells the listeners."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, set()
        changed: set[ObjectKey] = set()
        moved = False
        bulk = len(pending) > _BULK
        for key in pending:
            old, new = self._rows.get(key), self._build(key)
            if new == old:
                continue
            changed.add(key)
            if new is None:
                self._rows.pop(key, None)
                self._subjects.pop(key, None)
                self.marks.discard(key)
            else:
                self._rows[key] = new
            if not bulk:
                moved |= self._place(key, new)
        if bulk and changed:
            self._resort()
            moved = True
        self._count()
        if changed:
            self._tell(Change(frozenset(changed), moved))

    def set_sort(self, column: str, *, reverse: bool = False) -> None:
        self.sort = Sorting(column, reverse)
        self._reordered()

    def reverse(self) -> None:
        self.sort = replace(self.sort, reverse=not self.sort.reverse)
        self._tell(Change(frozenset(), True))

    def set_filter(self, text: str) -> None:
        """Raises Usage when the text makes no sense; the filter stays as it was then."""
        fields = {c.id: c.id for c in self.columns} | {
            w: c.id for c in self.columns for w in (c.title.lower(), c.title.lower().split()[0])
        }
        self.filter = parse(text, fields)
        self._reordered()

    def set_namespaces(self, namespaces: Iterable[str]) -> None:
        self.namespaces = frozenset(namespaces)
        self._reordered()

    def toggle_mark(self, key: ObjectKey) -> None:
        self.marks ^= {key}
        self._tell(Change(frozenset({key}), False))

    def mark(self, keys: Iterable[ObjectKey]) -> None:
        new = {key for key in keys if key in self._rows} - self.marks
        self.marks |= new
        self._tell(Change(frozenset(new), False))

    def mark_all(self) -> None:
        self.mark(map(self.key_at, range(len(self))))

    def unmark_all(self) -> None:
        old, self.marks = self.marks, set()
        self._tell(Change(frozenset(old), False))

    # Inside

    def _tell(self, change: Change) -> None:
        for listener in list(self._listeners):
            listener(change)

    def _reordered(self) -> None:
        self._resort()
        self._tell(Change(frozenset(), True))

    def _passes(self, row: R) -> bool:
        if self.namespaces and row.key.namespace and row.key.namespace not in self.namespaces:
            return False
        return not self.filter or self.filter(self._subject(row))

    def _subject(self, row: R) -> Subject:
        known = self._subjects.get(row.key)
        if known is not None and known[0] is row:
            return known[1]
        sight = self._sight()
        texts = {c.id: c.cell(row, sight).text.lower() for c in self.columns}
        texts[""] = " ".join(self._extra(row)).lower()
        values: dict[str, float | None] = {}
        for column in self.columns:
            value = column.order(row) if column.order else None
            if column.id == "age" and value is not None:
                value = sight.now.timestamp() + value
            values[column.id] = float(value) if isinstance(value, int | float) else None
        subject = Subject(texts, values, row.object.metadata.labels)
        self._subjects[row.key] = (row, subject)
        return subject

    def _sort_key(self, row: R, column: Column[R] | None, sight: Sight) -> SortKey:
        value = column.value(row, sight) if column is not None else None
        return (value is None, value if value is not None else 0, row.key.namespace, row.key.name)

    def _resort(self) -> None:
        column, sight = self.column(self.sort.column), self._sight()
        self._sort_keys = {
            key: self._sort_key(row, column, sight) for key, row in self._rows.items() if self._passes(row)
        }
        self._order = sorted(self._sort_keys.values())
        self._count()

    def _count(self) -> None:
        scope = self.namespaces
        self.total = (
            sum(1 for key in self._rows if not key.namespace or key.namespace in scope) if scope else len(self._rows)
        )

    def _place(self, key: ObjectKey, row: R | None) -> bool:
        """Puts one row where it belongs. True when rows moved."""
        old = self._sort_keys.get(key)
        new = None
        if row is not None and self._passes(row):
            new = self._sort_key(row, self.column(self.sort.column), self._sight())
        if old == new:
            return False
        if old is not None:
            del self._sort_keys[key]
            del self._order[bisect.bisect_left(self._order, old)]
        if new is not None:
            self._sort_keys[key] = new
            bisect.insort(self._order, new)
        return True

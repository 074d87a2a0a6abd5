"""What was made from stored objects, kept while they stay as they are; bounded by forgetting everything."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by key. A key names the version of what a value was made from, so nothing is ever outdated."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._values: dict[Hashable, V] = {}

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Raises what `make` raises, and then keeps nothing."""
        try:
            return self._values[key]
        except KeyError:
            made = make()
        if len(self._values) >= self._most:
            self._values.clear()
        self._values[key] = made
        return made

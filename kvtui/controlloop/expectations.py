"""What a controller has asked for and not yet seen in its cache, so that it does not ask twice.

Needed where names are generated: a second look at a stale cache would create a second Pod.

Source: k8s.io/kubernetes/pkg/controller (ControllerExpectations).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Expectations(Generic[K]):
    """Outstanding creations and deletions by owner key; they lapse after `lifetime` seconds of `clock`."""

    def __init__(self, clock: Callable[[], float], lifetime: float = 300.0) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._created: dict[K, dict[str, float]] = {}
        self._deleted: dict[K, dict[str, float]] = {}

    def expect_creation(self, key: K, token: str) -> None:
        """`token` names what will appear: the uid of the answer, or a name."""
        self._created.setdefault(key, {})[token] = self._clock()

    def expect_deletion(self, key: K, token: str) -> None:
        self._deleted.setdefault(key, {})[token] = self._clock()

    def seen_creation(self, key: K, token: str) -> None:
        self._created.get(key, {}).pop(token, None)

    def seen_deletion(self, key: K, token: str) -> None:
        self._deleted.get(key, {}).pop(token, None)

    def creating(self, key: K) -> bool:
        return self._outstanding(self._created, key)

    def deleting(self, key: K) -> bool:
        return self._outstanding(self._deleted, key)

    def satisfied(self, key: K) -> bool:
        return not self.creating(key) and not self.deleting(key)

    def forget(self, key: K) -> None:
        self._created.pop(key, None)
        self._deleted.pop(key, None)

    def _outstanding(self, table: dict[K, dict[str, float]], key: K) -> bool:
        now = self._clock()
        tokens = table.get(key)
        if tokens is None:
            return False
        for token in [t for t, since in tokens.items() if now - since > self._lifetime]:
            del tokens[token]
        if not tokens:
            del table[key]
            return False
        return True

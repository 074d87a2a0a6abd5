"""A set of things to look at, with retries: what the server's own loops work off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from kvtui.apiserver.status import Failure

log = structlog.get_logger()
T = TypeVar("T")
_RETRY = 1.0
_RETRY_MAX = 30.0


class Backlog(Generic[T]):
    """Keys in order of arrival, each once; a key that fails comes back later."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._keys: dict[T, None] = {}
        self._failures: dict[T, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: T) -> None:
        self._keys[key] = None
        self._wake.set()

    async def work(self, handle: Callable[[T], Awaitable[float | None]]) -> None:
        """Handles keys for ever. `handle` may return the seconds after which it wants the key again."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._keys:
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._keys))
            del self._keys[key]
            try:
                again = await handle(key)
            except Failure as failure:
                if failure.code == 404:
                    self._failures.pop(key, None)
                    continue
                count = self._failures.get(key, 0)
                self._failures[key] = count + 1
                again = min(_RETRY * 2**count, _RETRY_MAX)
                log.info("chore is tried again", chore=self._name, key=str(key), error=failure.message, seconds=again)
            except Exception:
                # A defect with one object must not end the server; it is logged whole and tried again slowly.
                log.exception("chore broke", chore=self._name, key=str(key))
                again = _RETRY_MAX
            else:
                self._failures.pop(key, None)
            if again is not None:
                loop.call_later(again, self.add, key)
            await asyncio.sleep(0)

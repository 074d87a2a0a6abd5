"""Taking turns: how many requests begin their work in one turn of the event loop.

asyncio runs everything that is ready before it looks at timers and sockets again. Without this, sixty-four requests
that arrive together would be one long block for everybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 4
"""Requests per turn; each works for about a millisecond until it waits for the disk."""


class Turns:
    """A queue before the handlers, first come, first served. Use from one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._begun = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._scheduled = False

    async def wait(self) -> None:
        """Returns when it is the caller's turn, which is at once while few come."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._next)
        if self._begun < self._at_once and not self._waiting:
            self._begun += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _next(self) -> None:
        self._begun = 0
        while self._waiting and self._begun < self._at_once:
            turn = self._waiting.popleft()
            if not turn.done():  # a client that has left
                turn.set_result(None)
                self._begun += 1
        self._scheduled = bool(self._begun)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._next)

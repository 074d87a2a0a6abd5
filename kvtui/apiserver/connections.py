"""Open connections: how many there may be, and how long one may say nothing.

A client that sends its request a byte at a time, or never, is cut off; so is one more than the limit.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp.web_protocol import RequestHandler

from kvtui.apiserver import status

FIRST_REQUEST = 30.0
"""Seconds until the first request must have its headers complete."""
IDLE = 90.0
"""Seconds between the end of one request and the headers of the next."""
HANDSHAKE = 10.0
"""Seconds for TLS."""
_SWEEP = 5.0


@dataclass(slots=True)
class _State:
    since: float
    busy: int = 0
    served: bool = False
    user: str = ""


class _Refuse(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Connections:
    """Counts connections and ends those that only wait."""

    def __init__(self, limit: int, *, of_user: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._of_user = limit if of_user is None else of_user
        self._users: Counter[str] = Counter()
        self._clock = clock
        self._states: dict[RequestHandler, _State] = {}

    def factory(self, make: Callable[[], RequestHandler]) -> Callable[[], asyncio.Protocol]:
        """For `loop.create_server`."""

        def protocol() -> asyncio.Protocol:
            if len(self._states) >= self._limit:
                self.sweep()
                if len(self._states) >= self._limit:
                    return _Refuse()
            handler = make()
            self._states[handler] = _State(self._clock())
            return handler

        return protocol

    def count(self) -> int:
        """Open connections, and some that ended a moment ago."""
        return len(self._states)

    def claim(self, handler: object, user: str) -> None:
        """Says who uses a connection. Raises Failure 429 when that one has too many already."""
        state = self._states.get(handler) if isinstance(handler, RequestHandler) else None
        if state is None or state.user == user:
            return
        if self._users[user] >= self._of_user:
            self.sweep()
            if self._users[user] >= self._of_user:
                raise status.too_many_requests("too many connections are open, please try again later")
        self._release(state)
        state.user = user
        self._users[user] += 1

    def _release(self, state: _State) -> None:
        if state.user:
            self._users[state.user] -= 1
            if not self._users[state.user]:
                del self._users[state.user]

    def _forget(self, handler: RequestHandler) -> None:
        self._release(self._states.pop(handler))

    def begin(self, handler: object) -> None:
        """A request's headers are complete."""
        if isinstance(handler, RequestHandler) and (state := self._states.get(handler)) is not None:
            state.busy += 1
            state.served = True

    def end(self, handler: object) -> None:
        """Its answer is made."""
        if isinstance(handler, RequestHandler) and (state := self._states.get(handler)) is not None:
            state.busy -= 1
            state.since = self._clock()

    def sweep(self) -> int:
        """Ends connections that waited for too long; returns how many."""
        now = self._clock()
        ended = 0
        for handler, state in list(self._states.items()):
            waited = now - state.since
            if handler.transport is None:
                # Gone after it was there, or still in its handshake, which has a limit of its own.
                if state.served or waited > HANDSHAKE:
                    self._forget(handler)
            elif not state.busy and waited > (IDLE if state.served else FIRST_REQUEST):
                handler.force_close()
                self._forget(handler)
                ended += 1
        return ended

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self.sweep()

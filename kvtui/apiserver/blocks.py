"""How long the event loop is busy in one turn: from the end of one wait for events to the beginning of the next.

Whatever comes in between is kept waiting for so long. A loop that was not made here is measured by a timer that
comes late, which also counts the time in which the machine did something else.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from weakref import WeakKeyDictionary


class Turn(selectors.EpollSelector):
    """Waits for events and measures what lies between."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        """Seconds by the clock."""
        self.longest_work = 0.0
        """Seconds of processor time: what is left on a machine that does nothing else."""
        self._clock = time.monotonic()
        self._work = time.thread_time()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Waiting takes no processor time, so one reading per turn is enough.
        now = time.thread_time()
        busy, work = time.monotonic() - self._clock, now - self._work
        self._work = now
        if busy > self.longest:
            self.longest = busy
        if work > self.longest_work:
            self.longest_work = work
        events = super().select(timeout)
        self._clock = time.monotonic()
        return events

    def forget(self) -> None:
        """What came before the server was ready keeps nobody waiting."""
        self.longest = self.longest_work = 0.0


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turn] = WeakKeyDictionary()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """For `asyncio.Runner(loop_factory=...)`."""
    turn = Turn()
    loop = asyncio.SelectorEventLoop(turn)
    _turns[loop] = turn
    return loop


def of_running_loop() -> Turn | None:
    """The measurement of this loop, if it was made for it."""
    return _turns.get(asyncio.get_running_loop())

"""Pauses that double after each failure, with jitter so that many clients do not return at once."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Grows from `base` to `limit` (seconds); `reset` after a success."""

    base: float
    limit: float
    failures: int = 0

    def next(self) -> float:
        """Seconds to wait before the next try."""
        pause = min(self.limit, self.base * 2.0**self.failures)
        self.failures = min(self.failures + 1, 32)
        return float(pause * random.uniform(0.8, 1.2))  # noqa: S311  # spreads load

    async def pause(self) -> None:
        """Waits as long as `next` says."""
        await asyncio.sleep(self.next())

    def reset(self) -> None:
        self.failures = 0

"""Work on large values, beside the event loop.

A thread makes nothing faster, but the interpreter switches between threads all the time: other requests go on while
one large object is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
LARGE = 48 * 1024
"""Bytes of JSON from which on a step takes milliseconds; few objects but definitions are as large."""


async def beside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Does what is small at once, and what is large in a thread."""
    if size < LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)

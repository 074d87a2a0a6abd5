"""One line on stderr that says what is being waited for, from the second second on, and only on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import AsyncIterator

import click

PATIENCE = 1.0
"""Seconds after which a wait is worth a word."""
_CLEAR = "\r\x1b[K"


class Progress:
    """What is shown; `say` replaces it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def say(self, text: str) -> None:
        self.text = text


@contextlib.asynccontextmanager
async def waiting(text: str, *, quiet: bool = False) -> AsyncIterator[Progress]:
    """Shows the text and the seconds that have passed until the block ends."""
    progress = Progress(text)
    if quiet or not sys.stderr.isatty():
        yield progress
        return
    line = asyncio.create_task(_tell(progress), name="progress line")
    try:
        yield progress
    finally:
        line.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await line


async def _tell(progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(PATIENCE)
    try:
        while True:
            width = shutil.get_terminal_size().columns - 1
            text = f"{progress.text} ({loop.time() - began:.0f} s)"
            click.echo(_CLEAR + text[:width], nl=False, err=True)
            await asyncio.sleep(PATIENCE)
    finally:
        click.echo(_CLEAR, nl=False, err=True)

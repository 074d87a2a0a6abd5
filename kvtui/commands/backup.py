"""`kvtui local backup FILE` and `restore FILE`: everything that the engine's API holds, in one file.

A backup is taken while the engine runs and is consistent: one moment, all objects. It holds neither certificates nor
the disks of machines. A restore takes place while the engine is stopped; clients notice it as a jump of revisions and
list anew.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kvtui.commands.lifecycle import locked, say
from kvtui.errors import Permanent, Unreachable, Usage

if TYPE_CHECKING:
    from kvtui.client.kubeconfig import Endpoint
    from kvtui.commands.engine import EngineDirectory

FindEngine = Callable[[click.Context, str | None], "EngineDirectory"]
_PATH = "/kvtui/backup"
_CHUNK = 256 * 1024
_SILENCE = 60.0
"""Seconds without a byte after which the server is given up."""


def add_to(group: click.Group, find: FindEngine) -> None:
    """Puts both commands into the group of an engine; `find` tells which engine --data means."""
    data = click.option(
        "--data", metavar="DIR", type=click.Path(file_okay=False), help="Where the engine lives; each has its own."
    )

    @group.command("backup")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @data
    @click.pass_context
    def backup(ctx: click.Context, file: Path, data: str | None) -> None:
        """Copy everything that the API holds into FILE, while the engine runs."""
        engine = find(ctx, data)
        record = engine.read()
        if record is None or not record.running:
            raise Usage(f"the engine in {engine.data} does not run", hint="a backup is taken from a running engine")
        size = asyncio.run(_download(engine, file))
        say(f"{file}: {size} bytes")

    @group.command("restore")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @data
    @click.pass_context
    def restore(ctx: click.Context, file: Path, data: str | None) -> None:
        """Put what FILE holds in place of everything that the API of a stopped engine held."""
        from kvtui.apiserver import database

        engine = find(ctx, data)
        with locked(engine):
            record = engine.read()
            if record is not None and record.running:
                raise Usage(f"the engine in {engine.data} runs", hint="stop it first; its machines may go on running")
            engine.apiserver.mkdir(mode=0o700, parents=True, exist_ok=True)
            database.restore(file, engine.apiserver / "state.db")
        say(f"the engine in {engine.data} holds what {file} held; start it to go on")


async def _download(engine: EngineDirectory, file: Path) -> int:
    """Writes a complete copy or nothing; answers its size. Raises Unreachable, Permanent, OSError."""
    from kvtui.client import kubeconfig

    endpoint = await kubeconfig.load(engine.kubeconfig)
    partial = file.with_name(file.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        size = await _copy(endpoint, descriptor)
        os.fsync(descriptor)
        partial.replace(file)
    finally:
        os.close(descriptor)
        partial.unlink(missing_ok=True)
    return size


async def _copy(endpoint: Endpoint, descriptor: int) -> int:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=_SILENCE)
    size = 0
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=endpoint.headers) as session,
            session.get(endpoint.server + _PATH, ssl=endpoint.ssl_context or True) as answer,
        ):
            if answer.status != 200:
                raise Permanent(f"the server does not give a backup: {await answer.text()}")
            async for piece in answer.content.iter_chunked(_CHUNK):
                await asyncio.to_thread(_write, descriptor, piece)
                size += len(piece)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(f"the backup broke off: {error or type(error).__name__}") from error
    return size


def _write(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]

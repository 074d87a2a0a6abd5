"""GET /kvtui/backup: the whole database, consistent, while the server runs. For administrators only, by RBAC."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from pathlib import Path

from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.http import BASE_HEADERS, CHUNK, Call
from kvtui.apiserver.store import Store


async def download(call: Call, store: Store) -> web.StreamResponse:
    """Streams a copy. Raises Failure 507 when there is no room to make it."""
    with tempfile.TemporaryDirectory(prefix="backup-", dir=store.path.parent) as directory:
        copy = Path(directory) / "state.db"
        try:
            await store.backup(copy)
        except (OSError, sqlite3.Error) as error:
            raise status.out_of_space(f"the backup cannot be made: {error}") from error
        headers = {
            **BASE_HEADERS,
            "Content-Type": "application/vnd.sqlite3",
            "Content-Length": str(copy.stat().st_size),
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(call.request)
        with copy.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, CHUNK * 4):
                await response.write(piece)
        await response.write_eof()
        return response

"""The way of an upload through the agent: from the API server's request to the worker's socket, byte for byte.

The socket is opened before its worker starts, so that a Pod that runs takes connections at once.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import aiohttp
from aiohttp import web

from kvtui.errors import Unreachable

LONGEST_ANSWER = 64 * 1024
_NAME = "s"
_HOP = ("Content-Type", "Content-Length")


class Door:
    """A listening Unix socket in a worker's directory."""

    def __init__(self, directory: Path) -> None:
        # Through its directory's descriptor the socket's path is short, wherever the data directory is.
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (directory / _NAME).unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.bind(self.path)
                self._socket.listen(16)
            except BaseException:
                self._socket.close()
                raise
        except BaseException:
            os.close(self._directory)
            raise

    @property
    def path(self) -> str:
        return f"/proc/self/fd/{self._directory}/{_NAME}"

    @property
    def listener(self) -> int:
        """The descriptor that a worker inherits."""
        return self._socket.fileno()

    def close(self) -> None:
        """The worker keeps its own copy of the listener."""
        self._socket.close()
        os.close(self._directory)


async def forward(request: web.Request, door: Door, verb: str) -> web.StreamResponse:
    """The worker's answer. A client that breaks off breaks the worker's body off too. Raises Unreachable."""
    headers = {name: request.headers[name] for name in _HOP if name in request.headers}
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        connector = aiohttp.UnixConnector(door.path)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session,
            session.post(f"http://worker/{verb}", data=request.content, headers=headers) as answer,
        ):
            text = await answer.content.read(LONGEST_ANSWER)
            answer.close()  # an answer in the middle of the body is the last word: nobody waits for the rest
            return web.Response(status=answer.status, body=text, content_type="text/plain")
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"the upload was interrupted: {error or type(error).__name__}") from error

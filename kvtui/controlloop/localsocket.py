"""HTTP between processes of one engine over a Unix socket in its data directory, however long that path is.

The kernel takes 107 bytes; a name below the descriptor of the directory is always short enough.

Source: unix(7), proc_pid_fd(5)
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from kvtui.errors import Unreachable

_TIMEOUT = aiohttp.ClientTimeout(total=20.0)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen(path: Path) -> socket.socket:
    """A socket in a directory that only its owner may enter, in place of any that is there. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            made.bind(name)
        path.chmod(0o600)
    except OSError:
        made.close()
        raise
    return made


async def get(path: Path, target: str) -> str:
    """What is served there under `target`, such as /metrics. Raises Unreachable."""
    try:
        with _short(path) as name:
            connector = aiohttp.UnixConnector(path=name)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
                session.get(f"http://localhost{target}") as answer,
            ):
                if answer.status != 200:
                    raise Unreachable(f"{path.name} answers {answer.status}")
                return await answer.text()
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise Unreachable(f"nobody answers at {path.name}: {error}") from error

"""Sending a file to CDI's upload proxy.

Source: CDI facts 5.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp

from kvtui.commands.progress import Progress
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import Forbidden, Permanent, Unreachable

CHUNK = 2**20
SYNC, ASYNC = "/v1beta1/upload", "/v1beta1/upload-async"
TOKENS = 3
"""How often a token that was refused is replaced."""
CONNECT = 30.0
BAR_STEP = 4
"""Percent for each character of the bar."""

Token = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file on its way."""

    url: str
    """Of the proxy, without path."""
    path: Path
    token: Token
    tries: int
    tls: ssl.SSLContext


def tls_context(*, insecure: bool, authority: str) -> ssl.SSLContext:
    """The system's authorities and the one that CDI names (PEM or empty); none are asked where `insecure`."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authority:
        with contextlib.suppress(ssl.SSLError):  # not PEM: then only the system's count
            context.load_verify_locations(cadata=authority)
    return context


async def send(upload: Upload, progress: Progress) -> None:
    """Uploads the file; returns when the proxy has taken it. Raises Permanent, Unreachable, Forbidden."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
    connector = aiohttp.TCPConnector(ssl=upload.tls)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        token = await upload.token()
        where = upload.url + (ASYNC if await _takes_async(session, upload.url, token) else SYNC)
        backoff = Backoff(1.0, 10.0)
        refused = tried = 0
        while True:
            try:
                code, text = await _post(session, where, token, upload.path, progress)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if isinstance(error, FileNotFoundError | PermissionError):
                    raise Permanent(f"{upload.path} cannot be read: {error.strerror}") from error
                code, text = 0, str(error) or type(error).__name__
            if code in (200, 201, 204):
                return
            if code == 401:
                refused += 1
                if tried == 0 or refused > TOKENS:
                    raise Forbidden(f"authentication failed: {text}", code=401)
                token = await upload.token()
                continue
            tried += 1
            if tried > upload.tries:
                if code == 0:
                    raise Unreachable(
                        f"{upload.url} cannot be reached: {text}", hint="see --uploadproxy-url, --insecure"
                    )
                raise Permanent(f"unexpected return value {code}, {text}")
            progress.say(f"uploading, try {tried + 1}")
            await backoff.pause()


async def _takes_async(session: aiohttp.ClientSession, url: str, token: str) -> bool:
    try:
        async with session.head(url + ASYNC, headers=_headers(token)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False  # the upload itself tells what is wrong


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _post(
    session: aiohttp.ClientSession, url: str, token: str, path: Path, progress: Progress
) -> tuple[int, str]:
    """Status and the beginning of the body."""
    with await asyncio.to_thread(path.open, "rb") as file:
        size = (await asyncio.to_thread(path.stat)).st_size
        headers = {**_headers(token), "Content-Type": "application/octet-stream", "Content-Length": str(size)}
        async with session.post(url, data=_chunks(file, size, progress), headers=headers) as answer:
            text = (await answer.content.read(2048)).decode("utf-8", "replace").strip()
            answer.close()  # an answer in the middle of the file is the last word
            return answer.status, text


async def _chunks(file: BinaryIO, size: int, progress: Progress) -> AsyncIterator[bytes]:
    sent, began = 0, time.monotonic()
    while chunk := await asyncio.to_thread(file.read, CHUNK):
        yield chunk
        sent += len(chunk)
        rate = sent / max(time.monotonic() - began, 0.001)
        share = 100 * sent // size if size else 100
        bar = f"{'=' * (share // BAR_STEP):{100 // BAR_STEP}}"
        progress.say(f"[{bar}] {share} % of {size / 2**20:.0f} MiB, {rate / 2**20:.1f} MiB/s")

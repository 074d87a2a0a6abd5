"""Requests and answers as the handlers see them, on top of aiohttp."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.apiserver import status
from kvtui.apiserver.negotiation import Wanted, negotiate
from kvtui.apiserver.options import WriteOptions, dry_run, field_validation, is_true, manager_of
from kvtui.apiserver.router import Target

CHUNK = 64 * 1024
BODY = 30.0
"""Seconds until the body of a request must be there."""
_COMPRESS_FROM = 128 * 1024
_MAX_QUERY = 100
BASE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache, private",
}


@dataclass(slots=True)
class Call:
    """One request on its way through the server."""

    request: web.Request
    target: Target
    query: Mapping[str, str]
    user: UserInfo
    warnings: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def wanted(self) -> Wanted:
        """Raises Failure 406."""
        return negotiate(self.request.headers.get("Accept", ""))

    @property
    def content_type(self) -> str:
        return self.request.headers.get("Content-Type", "")

    async def body(self) -> bytes:
        """Raises Failure 413, 415, 504."""
        encoding = self.request.headers.get("Content-Encoding", "")
        if encoding and encoding != "identity":
            raise status.unsupported_media_type()
        length = self.request.content_length
        if length is not None and length > status.MAX_BODY:
            raise status.too_large()
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY):
                async for chunk in self.request.content.iter_any():
                    size += len(chunk)
                    if size > status.MAX_BODY:
                        raise status.too_large()
                    parts.append(chunk)
        except TimeoutError as error:
            raise status.deadline() from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write_options(self, *, apply: bool = False) -> WriteOptions:
        """Raises Failure 422."""
        if apply and not self.query.get("fieldManager"):
            raise status.Failure(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
            )
        if not apply and "force" in self.query and self.method == "PATCH":
            raise status.Failure(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
            )
        return WriteOptions(
            user=self.user,
            manager=manager_of(self.query, self.request.headers.get("User-Agent", "")),
            field_validation=field_validation(self.query),
            dry_run=dry_run(self.query.get("dryRun")),
            force=is_true(self.query, "force"),
            warnings=self.warnings,
        )


def parse_query(text: str) -> dict[str, str]:
    """The first value of each parameter. Raises Failure 400."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_QUERY, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise status.bad_request(f"the query cannot be parsed: {error}") from error
    result: dict[str, str] = {}
    for key, value in pairs:
        result.setdefault(key, value)
    return result


def json_response(
    body: bytes | dict[str, Any],
    *,
    code: int = 200,
    warnings: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/json",
) -> web.Response:
    """A complete answer."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = web.Response(body=data, status=code, headers={**BASE_HEADERS, **(headers or {})})
    response.headers["Content-Type"] = content_type
    add_warnings(response, warnings)
    return response


def failure_response(failure: status.Failure, warnings: Iterable[str] = ()) -> web.Response:
    headers: dict[str, str] = {}
    if failure.code in (429, 503, 504) or failure.retry_after:
        headers["Retry-After"] = str(failure.retry_after or 1)
    return json_response(failure.body(), code=failure.code, warnings=warnings, headers=headers)


_WARNING_BUDGET = 4096
_WARNING_SHORT = 256


def add_warnings(response: web.StreamResponse, warnings: Iterable[str]) -> None:
    """RFC 7234 warnings, which kubectl prints."""
    total = 0
    for warning in dict.fromkeys(warnings):
        text = "".join(c if c.isprintable() else " " for c in warning)
        if total + len(text) > _WARNING_BUDGET:
            text = text[:_WARNING_SHORT]
        total += len(text)
        if total > 2 * _WARNING_BUDGET:
            return
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')


async def send_large(call: Call, parts: list[bytes], *, headers: Mapping[str, str] | None = None) -> web.StreamResponse:
    """An answer of many parts, in slices, so that no other request waits for it; gzip when the client can."""
    size = sum(map(len, parts))
    sent = {**BASE_HEADERS, "Content-Type": "application/json", "Vary": "Accept-Encoding, Accept", **(headers or {})}
    zipped = size > _COMPRESS_FROM and "gzip" in call.request.headers.get("Accept-Encoding", "")
    if size <= CHUNK:
        response = web.Response(body=b"".join(parts), headers=sent)
        add_warnings(response, call.warnings)
        return response
    if zipped:
        parts = await asyncio.to_thread(_gzip, parts)
        size = sum(map(len, parts))
        sent["Content-Encoding"] = "gzip"
    sent["Content-Length"] = str(size)
    stream = web.StreamResponse(headers=sent)
    add_warnings(stream, call.warnings)
    await stream.prepare(call.request)
    for piece in slices(parts):
        await stream.write(piece)
        await asyncio.sleep(0)
    await stream.write_eof()
    return stream


def slices(parts: list[bytes]) -> Iterable[bytes]:
    """The parts, joined to pieces of about 64 KiB."""
    pending: list[bytes] = []
    size = 0
    for part in parts:
        pending.append(part)
        size += len(part)
        if size >= CHUNK:
            joined = b"".join(pending)
            for start in range(0, len(joined), CHUNK):
                yield joined[start : start + CHUNK]
            pending, size = [], 0
    if pending:
        yield b"".join(pending)


def _gzip(parts: list[bytes]) -> list[bytes]:
    compressor = zlib.compressobj(level=1, wbits=31)
    out = [compressor.compress(piece) for piece in slices(parts)]
    out.append(compressor.flush())
    return [piece for piece in out if piece]

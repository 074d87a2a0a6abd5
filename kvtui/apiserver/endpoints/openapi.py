"""/openapi/v2 and /openapi/v3: documents are made when asked for and kept until what they describe changes.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

import msgspec
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.http import BASE_HEADERS, Call, send_large
from kvtui.apiserver.negotiation import clauses
from kvtui.apiserver.resources import GroupVersion, ResourceInfo, Resources
from kvtui.apiserver.schema import openapi

_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_FOREVER = "Wed, 01 Jan 2098 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class _Document:
    body: bytes
    hash: str
    resources: tuple[ResourceInfo, ...]
    """What it was made from; another registry with the same entries needs no new one."""


class OpenApi:
    """Answers everything below /openapi."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._documents: dict[str, _Document] = {}
        self._swagger: tuple[int, bytes] | None = None
        self._making = asyncio.Lock()

    async def warm(self) -> None:
        """Makes all documents, so that the first client does not wait."""
        await self._hashes()

    async def answer(self, call: Call, rest: tuple[str, ...]) -> web.StreamResponse:
        """Raises Failure 404, 406."""
        match rest:
            case ("v2",):
                return await self._v2(call)
            case ("v3",):
                index = openapi.index(await self._hashes())
                return _cached(call, msgspec.json.encode(index), "application/json")
            case ("v3", *path):
                return await self._v3(call, "/".join(path))
        raise status.no_such_path()

    async def _v3(self, call: Call, path: str) -> web.StreamResponse:
        found = next((gv for gv in self._served() if openapi.path_of(gv.group, gv.version) == path), None)
        if found is None:
            raise status.no_such_path()
        document = await self._document(found)
        wanted = call.query.get("hash", "")
        if wanted and wanted != document.hash:
            raise web.HTTPMovedPermanently(f"/openapi/v3/{path}?hash={document.hash}")
        etag = f'"{document.hash}"'
        headers = {"ETag": etag, "Vary": "Accept"}
        if wanted:
            headers |= {"Cache-Control": "public, immutable", "Expires": _FOREVER}
        if call.request.headers.get("If-None-Match", "") == etag:
            return web.Response(status=304, headers={**BASE_HEADERS, **headers})
        return await send_large(call, [document.body], headers=headers)

    async def _v2(self, call: Call) -> web.StreamResponse:
        for clause in clauses(call.request.headers.get("Accept", "") or "application/json"):
            if clause.type == _PROTOBUF:
                return _cached(call, openapi.V2_STUB, openapi.V2_PROTOBUF)
            if clause.type in ("application/json", "application/*", "*/*"):
                generation = self._resources.generation
                if self._swagger is None or self._swagger[0] != generation:
                    infos = self._resources.all
                    self._swagger = (generation, await asyncio.to_thread(openapi.swagger, infos))
                return await send_large(call, [self._swagger[1]])
        raise status.not_acceptable(("application/json", _PROTOBUF))

    def _served(self) -> list[GroupVersion]:
        return [gv for versions in self._resources.groups().values() for gv in versions]

    async def _hashes(self) -> dict[str, str]:
        return {openapi.path_of(gv.group, gv.version): (await self._document(gv)).hash for gv in self._served()}

    async def _document(self, served: GroupVersion) -> _Document:
        path = openapi.path_of(served.group, served.version)
        infos = tuple(served.resources.values())
        document = self._documents.get(path)
        if document is not None and document.resources == infos:
            return document
        async with self._making:
            document = self._documents.get(path)
            if document is None or document.resources != infos:
                body = await asyncio.to_thread(openapi.document, served.group, served.version, infos)
                document = self._documents[path] = _Document(body, openapi.digest(body), infos)
        return document


def _cached(call: Call, body: bytes, content_type: str) -> web.Response:
    etag = f'"{hashlib.sha256(body).hexdigest().upper()}"'
    headers = {**BASE_HEADERS, "ETag": etag, "Vary": "Accept", "Content-Type": content_type}
    if call.request.headers.get("If-None-Match", "") == etag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)

"""Metrics of the whole engine by way of its server, so that one address, certificate and role lead to all of them.

GET /metrics                                 the server's own, and what its extensions tell
GET /metrics/<part>                          of a part beside it, such as the controllers
GET /api/v1/nodes/<name>/proxy/metrics       of a node

A node's agent serves more than that to this server; through the proxy goes only what tells how the node does.

Source: https://kubernetes.io/docs/concepts/cluster-administration/system-metrics/
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import aiohttp
from aiohttp import web

from kvtui.apiserver import status
from kvtui.apiserver.endpoints.logs import Agents
from kvtui.apiserver.http import BASE_HEADERS, Call
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.resources import ResourceInfo
from kvtui.controlloop.exposition import CONTENT_TYPE
from kvtui.errors import Unreachable

Source = Callable[[], Awaitable[str]]
"""Tells metrics as text. Raises Unreachable."""
NOTHING: Mapping[str, Source] = MappingProxyType({})
OWN = ""
"""The name of what is told together with the server's own metrics."""
_NODE_PATHS = ("metrics", "metrics/resource", "stats/summary", "healthz")
_TIMEOUT = 30.0
_CHUNK = 64 * 1024


def answer(text: str) -> web.Response:
    return web.Response(body=text.encode(), headers={**BASE_HEADERS, "Content-Type": CONTENT_TYPE})


async def part(sources: Mapping[str, Source], name: str) -> web.Response:
    """Raises Failure 404, 503."""
    source = sources.get(name) if name != OWN else None
    if source is None:
        raise status.no_such_path()
    try:
        return answer(await source())
    except Unreachable as error:
        raise status.unavailable(f"the metrics of {name} are out of reach: {error}") from error


async def node(call: Call, objects: Objects, info: ResourceInfo, agents: Agents) -> web.StreamResponse:
    """Raises Failure 404, 405, 500, 503."""
    target = call.target
    if call.method not in ("GET", "HEAD"):
        raise status.method_not_allowed(info.group, info.plural, target.verb)
    objects.get(info, "", target.name)
    path = "/".join(target.rest)
    if path not in _NODE_PATHS:
        raise status.no_such_path()
    url = f"{agents.url(objects, target.name)}/{path}"
    try:
        async with asyncio.timeout(_TIMEOUT), agents.session.get(url) as upstream:
            if upstream.status != 200:
                raise status.unavailable(f"the agent of node {target.name} answers {upstream.status}")
            return await _passed_on(call, upstream)
    except (aiohttp.ClientError, TimeoutError) as error:
        words = str(error) or "it does not answer"
        raise status.unavailable(f"error trying to reach service: the agent of node {target.name}: {words}") from error


async def _passed_on(call: Call, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = {**BASE_HEADERS, "Content-Type": upstream.headers.get("Content-Type", CONTENT_TYPE)}
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    try:
        async for chunk in upstream.content.iter_chunked(_CHUNK):
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        # The answer has begun: all that is left is to end the connection early.
        if call.request.transport is not None:
            call.request.transport.abort()
    return response

"""Logs of Pods: asked of the agent of the node on which the Pod runs.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiohttp
from aiohttp import web

from kvtui.apiserver import options, status
from kvtui.apiserver.http import BASE_HEADERS, Call
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.pki import Pki
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]
_CONNECT_TIMEOUT = 5.0
_PASSED_ON = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream")
_CHUNK = 32 * 1024


class Agents:
    """HTTPS connections to the agents, as client of the engine's own CA."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=str(self._pki.ca.cert))
            context.load_cert_chain(self._pki.agents.cert, self._pki.agents.key)
            timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_TIMEOUT)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0), timeout=timeout, auto_decompress=False
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def url(self, objects: Objects, node: str) -> str:
        """The agent's endpoint. Raises Failure 500, 503."""
        record = objects.store.bucket("nodes").get(("", node))
        if record is None:
            raise status.internal(f'node "{node}" does not exist')
        state = record.decode().get("status") or {}
        addresses = {a.get("type"): a.get("address") for a in state.get("addresses") or ()}
        address = addresses.get("InternalIP") or addresses.get("Hostname")
        port = ((state.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        if not address or not port:
            raise status.unavailable(f'node "{node}" has not said where its agent listens')
        host = f"[{address}]" if ":" in address else address
        return f"https://{host}:{port}"


async def log(call: Call, objects: Objects, info: ResourceInfo, agents: Agents) -> web.StreamResponse:
    """GET …/log. Raises Failure 400, 404, 500, 503."""
    namespace, name = call.target.namespace, call.target.name
    pod = objects.get(info, namespace, name).decode()
    container = _container(pod, call.query.get("container", ""))
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        if options.is_true(call.query, "follow"):
            raise status.bad_request(f'container "{container}" in pod "{name}" is waiting to start: not scheduled yet')
        return web.Response(text="", headers={**BASE_HEADERS, "Content-Type": "text/plain"})
    query = {key: call.query[key] for key in _PASSED_ON if key in call.query}
    url = f"{agents.url(objects, node)}/containerLogs/{namespace}/{name}/{container}"
    try:
        async with agents.session.get(url, params=query) as upstream:
            if upstream.status != 200:
                text = (await upstream.content.read(4096)).decode(errors="replace").strip()
                raise _refused(upstream.status, text)
            return await _pass_on(call, upstream)
    except aiohttp.ClientError as error:
        raise status.internal(f'the agent of node "{node}" cannot be reached: {error}') from error
    except TimeoutError as error:
        raise status.internal(f'the agent of node "{node}" does not answer') from error


async def _pass_on(call: Call, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(headers={**BASE_HEADERS, "Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(call.request)
    try:
        async for chunk in upstream.content.iter_chunked(_CHUNK):
            await response.write(chunk)
        await response.write_eof()
    except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
        # The answer has begun: all that is left is to end the connection early.
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


def _refused(code: int, text: str) -> status.Failure:
    if code == 404:
        return status.Failure(404, "NotFound", text or "the container has no log")
    if code == 400:
        return status.bad_request(text)
    return status.internal(text or f"the agent answered {code}")


def _container(pod: Object, wanted: str) -> str:
    spec = pod.get("spec") or {}
    names = [c.get("name", "") for f in ("containers", "initContainers") for c in spec.get(f) or ()]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in names:
            raise status.bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    containers = [c.get("name", "") for c in spec.get("containers") or ()]
    if len(containers) == 1:
        return str(containers[0])
    raise status.bad_request(
        f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
    )

"""The way to a node's agent: plain requests, and websockets that are dialled before anybody is told.

Source: the agent's own interface (kvtui.node.server, kvtui.node.streams).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from kvtui.api.core.node import Node
from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.client.rest import Client
from kvtui.client.status import error_of
from kvtui.virtapi.subresources.refusals import VMI, Refused, bad_request, conflict, internal

PROTOCOL = "plain.kubevirt.io"
REQUEST_TIMEOUT = 10.0
"""Seconds for a request that is no stream."""
CONNECT_TIMEOUT = 5.0
LARGEST_MESSAGE = 4 * 2**20
"""Bytes of one websocket message."""
HEARTBEAT = 30.0


LARGEST_REFUSAL = 64 * 2**10
_refusal_body: ContextVar[bytes] = ContextVar("refusal body", default=b"")


class AgentSocket(aiohttp.ClientWebSocketResponse):
    """A websocket that remembers the headers it was opened with."""

    def __init__(
        self,
        reader: Any,
        writer: Any,
        protocol: str | None,
        response: aiohttp.ClientResponse,
        *more: Any,
        **options: Any,
    ) -> None:
        super().__init__(reader, writer, protocol, response, *more, **options)
        self.headers: Mapping[str, str] = response.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent answered with success."""

    status: int
    content_type: str
    body: bytes


class Agents:
    """Connections to agents. `client` finds nodes; `tls` holds the certificate that agents trust."""

    def __init__(self, client: Client, tls: ssl.SSLContext) -> None:
        self._client = client
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
            trace = aiohttp.TraceConfig()
            trace.on_request_end.append(_keep_refusal)
            self._session = aiohttp.ClientSession(
                connector=connector, trace_configs=[trace], ws_response_class=AgentSocket
            )
        return self._session

    async def url(self, vmi: VirtualMachineInstance, verb: str) -> str:
        """Where the verb is served now. Raises Refused while the instance has no node that answers."""
        name = vmi.status.node_name
        if not name:
            raise internal(f"no node of VirtualMachineInstance {vmi.metadata.name} is known")
        namespace, instance = quote(vmi.metadata.namespace), quote(vmi.metadata.name)
        return f"{await self.base(name)}/v1/namespaces/{namespace}/virtualmachineinstances/{instance}/{verb}"

    async def base(self, name: str) -> str:
        """The agent of a node. Raises Refused while the node does not say where it answers."""
        node = await self._client.find(Node, ("", name))
        if node is None:
            raise internal(f"there is no node {name}")
        address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
        port = node.status.daemon_endpoints.kubelet_endpoint.port
        if not address or not port:
            raise internal(f"node {name} does not say where its agent answers")
        return f"https://{f'[{address}]' if ':' in address else address}:{port}"

    def upload(
        self, method: str, url: str, body: aiohttp.StreamReader | None = None, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request that takes as long as its body does. Raises aiohttp.ClientError, TimeoutError, OSError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
        return self._http().request(method, url, data=body, headers=headers, timeout=timeout)

    async def request(
        self,
        method: str,
        vmi: VirtualMachineInstance,
        verb: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises Refused with the agent's own words."""
        url = await self.url(vmi, verb)
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._http().request(
                method, url, data=body, params=params, headers=headers, timeout=timeout
            ) as response:
                content = await response.read()
                if response.status >= 400:
                    raise refusal(response.status, content, vmi)
                return Answer(response.status, response.content_type, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise internal(f"the agent of node {vmi.status.node_name} does not answer: {_words(error)}") from error

    async def dial(
        self, vmi: VirtualMachineInstance, verb: str, params: Mapping[str, str] | None = None
    ) -> AgentSocket:
        """A websocket that is open both ways. Raises Refused with the agent's own words."""
        url = await self.url(vmi, verb)
        _refusal_body.set(b"")
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                socket = await self._http().ws_connect(
                    url,
                    params=params,
                    protocols=(PROTOCOL,),
                    max_msg_size=LARGEST_MESSAGE,
                    heartbeat=HEARTBEAT,
                    compress=0,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise refusal(error.status, _refusal_body.get(), vmi) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise internal(f"the agent of node {vmi.status.node_name} does not answer: {_words(error)}") from error
        assert isinstance(socket, AgentSocket)
        return socket


async def _keep_refusal(session: aiohttp.ClientSession, context: object, end: aiohttp.TraceRequestEndParams) -> None:
    """A refused handshake's body is gone once the error is raised."""
    if end.response.status != HTTPStatus.SWITCHING_PROTOCOLS and "Upgrade" in end.headers:
        _refusal_body.set(await end.response.content.read(LARGEST_REFUSAL))


def refusal(code: int, body: bytes, vmi: VirtualMachineInstance) -> Refused:
    """What an agent refused, in the words of this API: its 503 becomes a 500."""
    text = str(error_of(code, body))
    match code:
        case 400:
            return bad_request(text)
        case 409:
            return conflict(VMI, vmi.metadata.name, text)
        case _:
            return internal(text)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__

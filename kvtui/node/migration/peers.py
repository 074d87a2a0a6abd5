"""What agents ask each other around a migration, over their HTTPS endpoints."""

from __future__ import annotations

import ssl

import aiohttp
import structlog

from kvtui.api.core.node import Node
from kvtui.api.wire import ObjectKey, from_json
from kvtui.client.rest import Client
from kvtui.errors import Transient, Unreachable
from kvtui.node.migration.xml import TargetFacts
from kvtui.node.state import Record
from kvtui.node.streams import OFFSET_HEADER

log = structlog.get_logger()
TIMEOUT = 15.0


class Peers:
    """Calls other agents of the engine."""

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        self._context = context

    async def target_facts(self, node: str, record: Record) -> TargetFacts:
        """What the target prepared. Raises Transient, Unreachable."""
        body, _ = await self._get(node, record, "migration/target")
        return from_json(body, TargetFacts)

    async def history(self, node: str, record: Record) -> tuple[int, bytes]:
        """Offset and bytes of the source's console, once it is final. Raises Transient while it is not."""
        body, headers = await self._get(node, record, "console/history")
        return int(headers.get(OFFSET_HEADER, "0")), body

    async def _get(self, node: str, record: Record, what: str) -> tuple[bytes, dict[str, str]]:
        url = await self._url(node)
        path = f"{url}/v1/namespaces/{record.namespace}/virtualmachineinstances/{record.name}/{what}"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(path, ssl=self._context) as answer,
            ):
                if answer.status != 200:
                    raise Transient(
                        f"agent of {node} answered {answer.status} to {what}: {(await answer.text())[:200]}"
                    )
                return await answer.read(), dict(answer.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"the agent of {node} does not answer: {error or type(error).__name__}") from error

    async def _url(self, name: str) -> str:
        node = await self._client.get(Node, ObjectKey("", name))
        address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
        port = node.status.daemon_endpoints.kubelet_endpoint.port
        if not address or not port:
            raise Transient(f"node {name} has no agent")
        return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"

"""A port of a Pod on this machine, through the Pod's portforward subresource.

Messages of the websocket begin with their channel: 0 for data, 1 for what went wrong. The first message of each
channel is the port's number in two bytes.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (portforward), subprotocol
v4.channel.k8s.io.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

import aiohttp

from kvtui.commands.exits import report
from kvtui.commands.tunnel import Stream, join, listen
from kvtui.errors import KvtuiError, Permanent

if TYPE_CHECKING:
    from kvtui.client.rest import Client

PROTOCOL = "v4.channel.k8s.io"
DATA, ERROR = 0, 1


class PodPort:
    """The far end of one connection: plain bytes out of and into the data channel."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._greeted: set[int] = set()

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    async def send_bytes(self, data: bytes) -> None:
        await self._socket.send_bytes(bytes((DATA,)) + data)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> aiohttp.WSMessage:
        """Raises Permanent with the node's words when the port cannot be reached."""
        while True:
            message = await self._socket.__anext__()
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in self._greeted:
                self._greeted.add(channel)
            elif channel == ERROR:
                raise Permanent(data.decode(errors="replace").strip() or "the port of the Pod cannot be reached")
            elif channel == DATA:
                return aiohttp.WSMessage(aiohttp.WSMsgType.BINARY, data, None)


@contextlib.asynccontextmanager
async def forwarded(client: Client, key: tuple[str, str], port: int, local: int) -> AsyncIterator[int]:
    """The local port (0 takes a free one) that leads to the Pod's, as long as the block lasts. Raises Permanent."""
    path = f"/api/v1/namespaces/{key[0]}/pods/{key[1]}/portforward"

    async def serve(near: Stream) -> None:
        try:
            async with client.websocket(path, params={"ports": port}, protocols=(PROTOCOL,)) as socket:
                await join(near, PodPort(socket))
        except KvtuiError as error:
            report(error)  # of this connection; the next one may succeed
        finally:
            await near.close()

    async with asyncio.TaskGroup() as tasks:
        server, at = await listen("127.0.0.1", local, serve, tasks)
        try:
            yield at
        finally:
            server.close()

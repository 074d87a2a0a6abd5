"""Websockets between a client and the agent of a guest's node.

Bytes are passed on as they come, one message at a time in each direction: whoever reads slowly slows the other side
down, and nothing piles up here. The agent is dialled before the client is told that the stream is open, so what is
wrong arrives as an ordinary answer. A console outlives the agent that serves it: when the guest has moved, or the
agent starts again, the new one is dialled and goes on at the byte where the old one stopped.

Source: control plane facts 6.5; https://datatracker.ietf.org/doc/html/rfc6455.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from aiohttp import ClientConnectionError, WSCloseCode, WSMsgType, web

from kvtui.api.kubevirt.vmi import VirtualMachineInstance
from kvtui.errors import KvtuiError
from kvtui.virtapi.subresources.agents import LARGEST_MESSAGE, PROTOCOL, Agents, AgentSocket

log = structlog.get_logger()

OFFSET_HEADER = "Kvtui-Console-Offset"
MOVED = 4001
"""Close code of an agent whose guest is on another node now."""
DISPLACED = WSCloseCode.GOING_AWAY
"""Close code for a viewer whose place another one took."""
HEARTBEAT = 60.0
"""Seconds without a sign of life after which a client is given up."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0
"""Seconds between attempts to find the console again."""

Refresh = Callable[[], Awaitable[VirtualMachineInstance | None]]
_GONE = (ConnectionError, ClientConnectionError, OSError)


def open_socket() -> web.WebSocketResponse:
    """The client's side. A client that offers no subprotocol is served as well."""
    return web.WebSocketResponse(
        protocols=(PROTOCOL,), heartbeat=HEARTBEAT, max_msg_size=LARGEST_MESSAGE, compress=False
    )


async def _copy(source: AgentSocket | web.WebSocketResponse, target: AgentSocket | web.WebSocketResponse) -> None:
    """Binary messages only, until the source ends."""
    async for message in source:
        if message.type is WSMsgType.BINARY:
            await target.send_bytes(message.data)


async def _first_of(*works: Coroutine[Any, Any, None]) -> int:
    """Runs the works until one ends; tells which. A peer that went away is an ordinary end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, *_GONE):
                await task
    return min(index for index, task in enumerate(tasks) if task in done)


async def proxy(request: web.Request, agent: AgentSocket) -> web.WebSocketResponse:
    """Joins a client with an agent's socket that is open already."""
    client = open_socket()
    try:
        await client.prepare(request)
        await _first_of(_copy(agent, client), _copy(client, agent))
        if agent.close_code == DISPLACED:
            _cut(request)
    finally:
        await agent.close()
        with contextlib.suppress(*_GONE):
            await client.close()
    return client


def _cut(request: web.Request) -> None:
    """Ends the connection without a close frame, which virtctl reads as: somebody else took the place."""
    if request.transport is not None:
        request.transport.abort()


class ConsoleProxy:
    """One client's view of a serial console, from node to node."""

    def __init__(self, agents: Agents, vmi: VirtualMachineInstance, refresh: Refresh) -> None:
        """`refresh` looks the instance up again; None when it is gone."""
        self._agents = agents
        self._vmi = vmi
        self._refresh = refresh
        self._offset: int | None = None
        self._agent: AgentSocket | None = None
        self._ready = asyncio.Event()

    async def run(self, request: web.Request, params: dict[str, str]) -> web.WebSocketResponse:
        """Raises Refused when the first agent cannot be reached."""
        self._attach(await self._agents.dial(self._vmi, "console", params))
        client = open_socket()
        if self._offset is not None:
            client.headers[OFFSET_HEADER] = str(self._offset)
        try:
            await client.prepare(request)
            await _first_of(self._print(request, client), self._type(client))
        finally:
            if self._agent is not None:
                await self._agent.close()
            with contextlib.suppress(*_GONE):
                await client.close()
        return client

    def _attach(self, agent: AgentSocket) -> None:
        offset = agent.headers.get(OFFSET_HEADER, "")
        if offset.isascii() and offset.isdigit():
            self._offset = int(offset)
        self._agent = agent
        self._ready.set()

    async def _print(self, request: web.Request, client: web.WebSocketResponse) -> None:
        """What the guest prints, until the guest or the client is gone."""
        while self._agent is not None:
            agent = self._agent
            with contextlib.suppress(*_GONE):
                async for message in agent:
                    if message.type is WSMsgType.BINARY:
                        await client.send_bytes(message.data)
                        if self._offset is not None:
                            self._offset += len(message.data)
            self._ready.clear()
            await agent.close()
            if agent.close_code == WSCloseCode.OK or not await self._find_again(request, client):
                return

    async def _type(self, client: web.WebSocketResponse) -> None:
        """What the client types; it waits while there is no agent to take it."""
        async for message in client:
            if message.type is not WSMsgType.BINARY:
                continue
            while True:
                await self._ready.wait()
                try:
                    if self._agent is not None:
                        await self._agent.send_bytes(message.data)
                    break
                except _GONE:
                    await asyncio.sleep(FIRST_DELAY)  # until _print has seen it too

    async def _find_again(self, request: web.Request, client: web.WebSocketResponse) -> bool:
        """Dials the node where the guest is now; False when it runs no more or the client has left."""
        delay = FIRST_DELAY
        while True:
            if client.closed or request.transport is None or request.transport.is_closing():
                return False
            try:
                vmi = await self._refresh()
                if vmi is None or vmi.metadata.uid != self._vmi.metadata.uid or vmi.status.phase != "Running":
                    return False
                params = {} if self._offset is None else {"from": str(self._offset)}
                self._attach(await self._agents.dial(vmi, "console", params))
            except KvtuiError as error:
                log.info("console is looked for again", vmi=str(self._vmi.key), error=str(error), seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_DELAY)
            else:
                return True

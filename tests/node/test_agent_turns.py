"""One call at a time for each guest agent, and none that piles up behind a silent one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from kvtui.node.hypervisor import AgentUnavailable, CallTimeout, DomainId
from kvtui.node.libvirt_connection import LibvirtConnection
from kvtui.node.libvirt_threads import Lane

T = TypeVar("T")
ONE, OTHER = DomainId("one"), DomainId("other")


class Gated(LibvirtConnection):
    """Its libvirt answers about one domain only when a gate is open."""

    def __init__(self) -> None:
        super().__init__("test:///default")
        self.gate = asyncio.Event()
        self.begun = 0

    async def on(
        self, domain: DomainId, function: Callable[[Any], T], lane: Lane = Lane.SHORT, timeout: float | None = 1
    ) -> T:
        self.begun += 1
        if domain == ONE:
            await self.gate.wait()
        return function(Handle())


class Handle:
    """A domain as libvirt gives it."""

    def agentSetResponseTimeout(self, seconds: int, flags: int) -> None:
        return


async def test_a_silent_agent_holds_one_turn_however_many_ask() -> None:
    connection = Gated()
    with pytest.raises(CallTimeout):
        await connection.on_agent(ONE, lambda _: "answer", 0.01)
    for _ in range(3):
        with pytest.raises(AgentUnavailable):
            await connection.on_agent(ONE, lambda _: "answer", 0.01)
    assert connection.begun == 1
    assert await connection.on_agent(OTHER, lambda _: "answer", 1.0) == "answer"
    connection.gate.set()
    assert await connection.on_agent(ONE, lambda _: "answer", 1.0) == "answer"

"""Pollers of guest agents: what a silent one costs, and how it comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kvtui.node import guestagent
from kvtui.node.guestagent import GuestAgents, GuestFacts
from kvtui.node.hypervisor import AgentUnavailable, DomainId
from tests.fakes.hypervisor import FakeHypervisor
from tests.node.builders import UUID

DOMAIN = DomainId(UUID)
DESCRIPTION = f"<domain><name>one</name><uuid>{UUID}</uuid><devices/></domain>"


@pytest.fixture
async def hypervisor() -> AsyncIterator[FakeHypervisor]:
    made = FakeHypervisor()
    running = asyncio.create_task(made.run())
    await made.wait_connected()
    await made.define(DESCRIPTION)
    await made.start(DOMAIN)
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@contextlib.asynccontextmanager
async def agents(hypervisor: FakeHypervisor) -> AsyncIterator[tuple[GuestAgents, asyncio.Event]]:
    changed = asyncio.Event()
    made = GuestAgents(hypervisor, lambda _uid: changed.set())
    running = asyncio.create_task(made.run())
    await asyncio.sleep(0)
    try:
        yield made, changed
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_what_an_agent_tells_is_known_and_told(hypervisor: FakeHypervisor) -> None:
    hypervisor.agent_connects(DOMAIN, {})
    async with agents(hypervisor) as (made, changed):
        made.watch("u", DOMAIN, connected=True)
        async with asyncio.timeout(5):
            await changed.wait()
        assert dict(made.get("u").os) == {"id": "test", "name": "Test"}
        assert made.answers("u")
        made.watch("u", DOMAIN, connected=False)
        assert made.get("u") == guestagent.NOTHING
        assert not made.connected("u")


async def test_a_silent_agent_is_left_alone_until_it_answers(
    hypervisor: FakeHypervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestagent, "SILENT_FIRST", 0.01)
    hypervisor.agent_connects(DOMAIN, {})
    hypervisor.refusals["agent_command"] = AgentUnavailable("no answer", 86)
    async with agents(hypervisor) as (made, changed):
        made.watch("u", DOMAIN, connected=True)
        async with asyncio.timeout(5):
            await changed.wait()
        assert hypervisor.fakes[DOMAIN].commands[0] == '{"execute": "guest-ping"}'
        assert made.answers("u")


def test_commands_that_are_missing_make_an_agent_unsupported() -> None:
    assert GuestFacts().supports("guest-exec")
    known = GuestFacts(commands=guestagent.REQUIRED)
    assert known.supports()
    assert not known.supports("guest-set-user-password")
    assert not GuestFacts(commands=guestagent.REQUIRED - {"guest-ping"}).supports()

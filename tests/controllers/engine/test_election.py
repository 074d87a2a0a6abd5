"""Only one of several candidates works, and another one takes over."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from kvtui.api.core.node import Lease
from kvtui.api.wire import ObjectKey
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.controllers.election import Election
from tests.controllers.plane import now
from tests.fakes.cluster import running_server

KEY = ObjectKey("default", "virt-controller")


class Worker:
    """Works until it is stopped, and remembers whether it does."""

    def __init__(self, client: Client, name: str) -> None:
        self.working = asyncio.Event()
        self.election = Election(client, KEY, name, now, duration=1, deadline=0.5, period=0.05)

    async def _work(self) -> None:
        self.working.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.working.clear()

    async def run(self) -> None:
        await self.election.lead(self._work)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_second_candidate_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        first, second = Worker(client, "a"), Worker(client, "b")
        one = asyncio.create_task(first.run())
        async with asyncio.timeout(10):
            await first.working.wait()
        two = asyncio.create_task(second.run())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await second.working.wait()
        assert first.working.is_set()
        await stop(one)
        async with asyncio.timeout(10):
            await second.working.wait()
        lease = await client.get(Lease, KEY)
        assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("b", 1)
        await stop(two)


async def test_a_leader_whose_lease_is_taken_stops(tmp_path: Path) -> None:
    async with running_server(tmp_path, crds=False) as server, Client(await load(server.kubeconfig)) as client:
        worker = Worker(client, "a")
        task = asyncio.create_task(worker.run())
        async with asyncio.timeout(10):
            await worker.working.wait()
            await client.patch(Lease, KEY, {"spec": {"holderIdentity": "b", "leaseDurationSeconds": 60}})
            await asyncio.wait([task])
        assert not worker.working.is_set()
        assert isinstance(task.exception(), Exception)

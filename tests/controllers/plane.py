"""A control plane for tests: our API server on a loopback socket and the controllers beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from kvtui.api.meta import Resource
from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.controllers.context import ControllerContext, MakeController
from kvtui.controllers.runner import run_with
from kvtui.settings import ControllerSettings, ControlLoopSettings
from kvtui.virtapi.admission.view import Right
from kvtui.virtapi.readers import ClientReader
from kvtui.virtapi.review import VirtAdmission
from tests.fakes.cluster import RunningServer, running_server

R = TypeVar("R", bound=Resource)

QUICK = ControllerSettings(loop=ControlLoopSettings(backoff_base=0.02, backoff_max=0.5))


def now() -> datetime:
    return datetime.now(UTC)


CONTROLLERS = "system:serviceaccount:kubevirt:kubevirt-controller"
"""Who the controllers are: admission lets only KubeVirt's own accounts change instances."""


class LateReader:
    """Serves admission's look-ups through the very server that asks, once it is up."""

    def __init__(self) -> None:
        self.client: Client | None = None

    def _reader(self) -> ClientReader:
        assert self.client is not None
        return ClientReader(self.client)

    async def find(self, type_: type[Any], namespace: str, name: str) -> Any | None:
        return await self._reader().find(type_, namespace, name) if self.client else None

    async def all(self, type_: type[Any], namespace: str) -> Sequence[Any]:
        return await self._reader().all(type_, namespace) if self.client else []

    async def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return await self._reader().find_other(api_version, kind, namespace, name)

    async def may(self, right: Right) -> bool:
        return True


@dataclass(slots=True)
class Plane:
    """What tests use: the server, an admin client and the controllers' context."""

    server: RunningServer
    client: Client
    context: ControllerContext

    async def until(self, type_: type[R], key: tuple[str, str], holds: Callable[[R | None], bool]) -> R | None:
        """The object once it is as wanted, told by a watch. None stands for an absent object."""
        namespace, name = key
        async with asyncio.timeout(20):
            found = await self.client.find(type_, key)
            if holds(found):
                return found
            listed = await self.client.list(type_, namespace)
            found = next((o for o in listed.items if o.metadata.name == name), None)
            if holds(found):
                return found
            watch = self.client.watch(type_, namespace, resource_version=listed.resource_version)
            async with contextlib.aclosing(watch) as events:
                async for event in events:
                    if event.object is None or event.object.metadata.name != name:
                        continue
                    present = None if event.type == "DELETED" else event.object
                    if holds(present):
                        return present
        raise AssertionError("the watch ended")


@contextlib.asynccontextmanager
async def control_plane(
    directory: Path,
    *,
    settings: ControllerSettings = QUICK,
    further: Sequence[MakeController] = (),
    **server_options: Any,
) -> AsyncIterator[Plane]:
    """Runs until the block ends; failures of the controllers fail the test."""
    reader = LateReader()
    async with contextlib.AsyncExitStack() as stack:
        admission = VirtAdmission(reader)
        server = await stack.enter_async_context(running_server(directory, admission=(admission,), **server_options))
        client = await stack.enter_async_context(Client(await load(server.kubeconfig)))
        reader.client = client
        account = server.kubeconfig_for(CONTROLLERS, ["system:masters"])
        own = await stack.enter_async_context(Client(await load(account)))
        context = ControllerContext.of(own, settings, now)
        running = asyncio.create_task(run_with(context, standins=True, further=further), name="controllers")
        try:
            yield Plane(server, client, context)
            if running.done():
                running.result()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

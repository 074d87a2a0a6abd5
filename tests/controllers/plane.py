"""A control plane for tests: our API server on a loopback socket and the controllers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.api.meta import Resource
from kvtui.apiserver.extension import Extension
from kvtui.client.kubeconfig import Endpoint, load
from kvtui.client.rest import Client
from kvtui.controllers.context import ControllerContext, MakeController
from kvtui.controllers.runner import run_with
from kvtui.settings import ControllerSettings, ControlLoopSettings
from kvtui.virtapi import wiring
from tests.fakes.cluster import RunningServer, running_server

R = TypeVar("R", bound=Resource)

QUICK = ControllerSettings(loop=ControlLoopSettings(backoff_base=0.02, backoff_max=0.5))


def now() -> datetime:
    return datetime.now(UTC)


VIRT_API = "system:serviceaccount:kubevirt:kubevirt-apiserver"
CONTROLLERS = "system:serviceaccount:kubevirt:kubevirt-controller"
"""Who the controllers are: admission lets only KubeVirt's own accounts change instances."""


@dataclass(slots=True)
class Plane:
    """What tests use: the server, an admin client and the controllers' context."""

    server: RunningServer
    client: Client
    context: ControllerContext
    clock: Callable[[], datetime] = now
    """The controllers' clock."""

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
    clock: Callable[[], datetime] = now,
    **server_options: Any,
) -> AsyncIterator[Plane]:
    """Runs until the block ends; failures of the controllers fail the test."""
    # The server needs virt-api at once, and virt-api needs a client of that server: its address comes later.
    late = Client(Endpoint(server="https://127.0.0.1:1"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    served = wiring.subresources(late, ssl.create_default_context(), key)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(late.close)
        server = await stack.enter_async_context(
            running_server(
                directory,
                admission=(wiring.admission(late),),
                extensions=(cast("Extension", served),),
                **server_options,
            )
        )
        account = server.kubeconfig_for(VIRT_API, ["system:masters"])
        late.endpoint = await load(account)
        client = await stack.enter_async_context(Client(await load(server.kubeconfig)))
        account = server.kubeconfig_for(CONTROLLERS, ["system:masters"])
        own = await stack.enter_async_context(Client(await load(account)))
        context = ControllerContext.of(own, settings, clock)
        running = asyncio.create_task(run_with(context, standins=True, further=further), name="controllers")
        try:
            yield Plane(server, client, context, clock)
            if running.done():
                running.result()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

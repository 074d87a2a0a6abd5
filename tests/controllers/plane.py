"""A control plane for tests: our API server on a loopback socket and the controllers beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvtui.client.kubeconfig import load
from kvtui.client.rest import Client
from kvtui.controllers.context import ControllerContext, MakeController
from kvtui.controllers.runner import run_with
from kvtui.settings import ControllerSettings, ControlLoopSettings
from tests.fakes.cluster import RunningServer, running_server

QUICK = ControllerSettings(loop=ControlLoopSettings(backoff_base=0.02, backoff_max=0.5))


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Plane:
    """What tests use: the server, an admin client and the controllers' context."""

    server: RunningServer
    client: Client
    context: ControllerContext


@contextlib.asynccontextmanager
async def control_plane(
    directory: Path,
    *,
    settings: ControllerSettings = QUICK,
    further: Sequence[MakeController] = (),
    **server_options: Any,
) -> AsyncIterator[Plane]:
    """Runs until the block ends; failures of the controllers fail the test."""
    async with (
        running_server(directory, **server_options) as server,
        Client(await load(server.kubeconfig)) as client,
    ):
        context = ControllerContext.of(client, settings, now)
        running = asyncio.create_task(run_with(context, standins=True, further=further), name="controllers")
        try:
            await asyncio.sleep(0)
            yield Plane(server, client, context)
            if running.done():
                running.result()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

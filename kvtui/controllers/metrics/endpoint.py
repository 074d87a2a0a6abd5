"""GET /metrics, /healthz and /leader of the controllers' process."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from kvtui.controllers.context import ControllerContext
from kvtui.controlloop import localsocket
from kvtui.controlloop.exposition import CONTENT_TYPE, text


def application(context: ControllerContext) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        # With thousands of VMs this takes a while, in which the controllers go on.
        body = await asyncio.to_thread(lambda families: text(families).encode(), context.metrics.families())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def health(_: web.Request) -> web.Response:
        failing = [i.type.__name__ for i in context.informers.all if not i.synced]
        return web.Response(
            text="ok" if not failing else f"waiting for {', '.join(failing)}", status=200 if not failing else 503
        )

    async def leader(_: web.Request) -> web.Response:
        return web.json_response({"apiserver": {"leader": "true"}})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    app.router.add_get("/leader", leader)
    return app


async def serve_metrics(context: ControllerContext) -> None:
    """Serves until cancelled; does nothing without a port or socket."""
    settings = context.settings
    if not settings.metrics_port and not settings.metrics_socket:
        return
    runner = web.AppRunner(application(context), access_log=None)
    await runner.setup()
    try:
        if settings.metrics_port:
            await web.TCPSite(runner, settings.metrics_host, settings.metrics_port).start()
        if settings.metrics_socket:
            await web.SockSite(runner, localsocket.listen(Path(settings.metrics_socket))).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

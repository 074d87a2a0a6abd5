"""GET /metrics, /healthz and /leader of the controllers' process."""

from __future__ import annotations

import asyncio

from aiohttp import web

from kvtui.controllers.context import ControllerContext
from kvtui.controllers.metrics.registry import CONTENT_TYPE


def application(context: ControllerContext) -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=context.metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})

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
    """Serves until cancelled; does nothing without a port."""
    port = context.settings.metrics_port
    if not port:
        return
    runner = web.AppRunner(application(context), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, context.settings.metrics_host, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()

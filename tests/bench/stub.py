"""A server that knows one VM and takes no time, for the time that a verb takes by itself."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

VM = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "web", "namespace": "default", "uid": "1", "resourceVersion": "1"},
    "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}},
}


@dataclass
class Stub:
    """Where it is, and the seconds that it has spent on answers."""

    kubeconfig: Path
    seconds: float = 0.0


@contextlib.asynccontextmanager
async def serve_stub(directory: Path) -> AsyncIterator[Stub]:
    stub = Stub(directory / "kubeconfig")

    async def answer(request: web.Request) -> web.Response:
        began = time.monotonic()
        if request.method == "GET" and request.path.endswith("/virtualmachines"):
            body: object = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineList", "metadata": {}, "items": [VM]}
        elif request.method in ("GET", "PATCH") and request.path.endswith("/virtualmachines/web"):
            body = VM
        elif request.method == "PUT":
            body = {}
        else:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            stub.seconds += time.monotonic() - began
            return web.json_response(status, status=404)
        made = web.json_response(body)
        stub.seconds += time.monotonic() - began
        return made

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        address, port = runner.addresses[0][:2]
        cluster = {"name": "stub", "cluster": {"server": f"http://{address}:{port}"}}
        context = {"name": "stub", "context": {"cluster": "stub", "user": "stub"}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stub",
            "clusters": [cluster],
            "contexts": [context],
            "users": [{"name": "stub", "user": {}}],
        }
        stub.kubeconfig.write_text(json.dumps(config))
        yield stub
    finally:
        await runner.cleanup()

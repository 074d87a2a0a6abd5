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
RESOURCE = {
    "resource": "virtualmachines",
    "singularResource": "virtualmachine",
    "responseKind": {"kind": "VirtualMachine"},
    "scope": "Namespaced",
    "shortNames": ["vm", "vms"],
    "verbs": ["get", "list"],
}
GROUP = {"metadata": {"name": "kubevirt.io"}, "versions": [{"version": "v1", "resources": [RESOURCE]}]}
NOTHING = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


def answer_to(method: str, path: str) -> object | None:
    """The body of an answer; None where nothing is."""
    if path in ("/api", "/apis"):
        return {"kind": "APIGroupDiscoveryList", "items": [GROUP] if path == "/apis" else []}
    if method == "GET" and path.endswith("/virtualmachines"):
        return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineList", "metadata": {}, "items": [VM]}
    if method in ("GET", "PATCH") and path.endswith("/virtualmachines/web"):
        return VM
    return {} if method == "PUT" else None


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
        body = answer_to(request.method, request.path)
        made = web.json_response(NOTHING, status=404) if body is None else web.json_response(body)
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

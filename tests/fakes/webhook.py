"""Admission webhooks of somebody else: one HTTPS server on loopback that answers as it is told, by path."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from kvtui.apiserver.pki import Pki, issue_serving

Object = dict[str, Any]
NAMES = ("127.0.0.1", "hook.default.svc")


def patch(*operations: Object) -> Object:
    """An answer that changes the object."""
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


@dataclass
class FakeWebhooks:
    """Answers by path, and what was asked."""

    port: int = 0
    bundle: str = ""
    """The authority of its certificate, as a configuration holds it."""
    answers: dict[str, Object | Callable[[Object], Object]] = field(default_factory=dict)
    """Path -> response, or what makes one of the request; "raw" is the whole body; "status" the HTTP status."""
    asked: list[tuple[str, Object]] = field(default_factory=list)
    """Path and review."""
    never: asyncio.Event = field(default_factory=asyncio.Event)

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def request(self, index: int = -1) -> Object:
        found: Object = self.asked[index][1]["request"]
        return found

    def url(self, path: str) -> Object:
        """A clientConfig by address."""
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.bundle}

    async def handle(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append((request.path, review))
        told = self.answers.get(request.path, {"allowed": True})
        response = told(review["request"]) if callable(told) else told
        if response.get("hang"):
            await self.never.wait()
        if "raw" in response:
            return web.Response(text=response["raw"], status=response.get("code", 200))
        body = {"uid": review["request"]["uid"], **response}
        return web.json_response({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": body})


@contextlib.asynccontextmanager
async def running_webhooks(pki: Pki) -> AsyncIterator[FakeWebhooks]:
    """Serves with a certificate of this authority."""
    pair = pki.pair("webhooks")
    issue_serving(pki, "webhooks", NAMES, pair)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    hooks = FakeWebhooks(bundle=base64.b64encode(pki.ca.cert.read_bytes()).decode())
    app = web.Application()
    app.router.add_post("/{path:.*}", hooks.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    hooks.port = runner.addresses[0][1]
    try:
        yield hooks
    finally:
        await runner.cleanup()

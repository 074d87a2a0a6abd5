"""CDI's upload proxy and KubeVirt's export server, as far as their clients see them: one HTTPS server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from kvtui.apiserver.pki import Pki, issue_serving

EXPORT_TOKEN = "x-kubevirt-export-token"


@dataclass
class FakeProxy:
    """What was uploaded, and what may be downloaded."""

    url: str = ""
    uploads: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Path, bearer token, body."""
    received: asyncio.Event = field(default_factory=asyncio.Event)
    """Something was uploaded."""
    answers: list[int] = field(default_factory=list)
    """Status codes of the next uploads instead of 200."""
    takes_async: bool = True
    disk: bytes = b""
    """Content of the exported volume."""
    token: str = ""
    """The only one that may download."""

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("HEAD", "/v1beta1/upload-async", self._head)
        app.router.add_post("/v1beta1/{path:upload|upload-async}", self._upload)
        app.router.add_get("/volumes/disk/disk.img.gz", self._download)
        app.router.add_get("/manifests/{type}", self._manifest)
        return app

    async def _head(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.takes_async else 404)

    async def _upload(self, request: web.Request) -> web.Response:
        body = await request.read()
        code = self.answers.pop(0) if self.answers else 200
        if code == 200:
            token = request.headers["Authorization"].removeprefix("Bearer ")
            self.uploads.append((request.match_info["path"], token, body))
            self.received.set()
        return web.Response(status=code, text="as told" if code != 200 else "")

    async def _download(self, request: web.Request) -> web.Response:
        if request.headers.get(EXPORT_TOKEN) != self.token:
            return web.Response(status=401)
        return web.Response(body=gzip.compress(self.disk))

    async def _manifest(self, request: web.Request) -> web.Response:
        if request.headers.get(EXPORT_TOKEN) != self.token:
            return web.Response(status=401)
        return web.Response(text=f"{request.match_info['type']} as {request.headers['Accept']}")


@contextlib.asynccontextmanager
async def running_proxy(pki: Pki) -> AsyncIterator[FakeProxy]:
    """Serves with a certificate of this authority."""
    pair = pki.pair("upload_proxy")
    issue_serving(pki, "cdi-uploadproxy", ("127.0.0.1",), pair)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    proxy = FakeProxy()
    runner = web.AppRunner(proxy.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    proxy.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield proxy
    finally:
        await runner.cleanup()

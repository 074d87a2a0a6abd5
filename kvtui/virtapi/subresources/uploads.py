"""CDI's upload proxy: a token opens it, the claim says where the worker is, and the body goes there as it comes.

It listens beside the API, because its clients have a token and nothing else, and tells its address in the CDIConfig.
A body is never kept here: what the agent does not take yet, the client does not send yet.

Source: CDI pkg/uploadproxy/uploadproxy.go; CDI facts 5.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Protocol

import aiohttp
import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.api.cdi.config import CDIConfig
from kvtui.api.core.pod import Pod
from kvtui.api.core.storage import PersistentVolumeClaim
from kvtui.client.rest import Client, Patch
from kvtui.client.status import error_of
from kvtui.controlloop.backoff import Backoff
from kvtui.errors import Forbidden, KvtuiError
from kvtui.virtapi.subresources import tokens
from kvtui.virtapi.subresources.agents import Agents
from kvtui.virtapi.subresources.refusals import Refused

log = structlog.get_logger()
VERSIONS = ("v1beta1", "v1alpha1")
VERBS = ("upload", "upload-async", "upload-form", "upload-form-async")
ARCHIVE = "upload-archive"
_PREFIX = "cdi.kubevirt.io/storage."
TARGET, POD_NAME = f"{_PREFIX}upload.target", f"{_PREFIX}uploadPodName"
POD_PHASE, POD_READY, CONTENT = f"{_PREFIX}pod.phase", f"{_PREFIX}pod.ready", f"{_PREFIX}contentType"
PATIENCE = 10.0
"""Seconds for which a receiver that is not ready is waited for."""
HANDSHAKE = 10.0
"""Seconds for TLS."""
LONGEST_ANSWER = 64 * 1024
READ_BUFFER = 512 * 1024
_PASSED = ("Content-Type", "Content-Length")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate(Protocol):
    """How many connections there may be, and how long one may say nothing."""

    def factory(self, make: Callable[[], RequestHandler]) -> Callable[[], asyncio.Protocol]:
        """For `loop.create_server`."""

    def begin(self, handler: object) -> None:
        """A request's headers are complete."""

    def end(self, handler: object) -> None:
        """Its answer is made."""


class _Answer(Exception):
    """Ends a request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class UploadProxy:
    """Serves until cancelled. `client` acts for a component; `now` is in seconds since 1970."""

    def __init__(
        self,
        client: Client,
        agents: Agents,
        key: rsa.RSAPublicKey,
        *,
        gate: Gate,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._gate = gate
        self._client = client
        self._agents = agents
        self._key = key
        self._now = now
        self.port = 0

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._counted, _cross_origin])
        app.router.add_get("/healthz", self._healthz)
        for version in VERSIONS:
            for verb in VERBS:
                path = f"/{version}/{verb}"
                app.router.add_post(path, self._post)
                app.router.add_route("HEAD", path, self._head)
        return app

    @web.middleware
    async def _counted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._gate.begin(request.protocol)
        try:
            return await handler(request)
        finally:
            self._gate.end(request.protocol)

    async def run(
        self,
        hosts: Sequence[str],
        ports: Sequence[int],
        tls: ssl.SSLContext,
        authority: str,
        remember: Callable[[int], None] = lambda port: None,
    ) -> None:
        """On the first of the ports that is free, the same on every host; the last host is told to clients.

        `authority` is the PEM that clients verify the certificate with. Raises OSError.
        """
        runner = web.AppRunner(
            self.application(), handle_signals=False, access_log=None, shutdown_timeout=1, read_bufsize=READ_BUFFER
        )
        await runner.setup()
        assert runner.server is not None
        listeners: list[asyncio.Server] = []
        try:
            self.port = await _listen(self._gate.factory(runner.server), hosts, ports, tls, listeners)
            await asyncio.to_thread(remember, self.port)
            log.info("upload proxy serves", port=self.port)
            host = f"[{hosts[-1]}]" if ":" in hosts[-1] else hosts[-1]
            await self._announce(f"https://{host}:{self.port}", authority)
        finally:
            for listener in listeners:
                listener.close()
            await runner.cleanup()
            await self._agents.close()

    async def _announce(self, url: str, authority: str) -> None:
        """Keeps the address in the CDIConfig, also in one that is made later."""
        wanted = {"status": {"uploadProxyURL": url, "uploadProxyCA": authority}}
        backoff = Backoff(0.5, 10.0)
        while True:
            try:
                async with contextlib.aclosing(self._client.watch(CDIConfig)) as events:
                    async for event in events:
                        backoff.reset()
                        if event.type in ("ADDED", "MODIFIED") and event.object is not None:
                            await self._tell(event.object, wanted)
            except KvtuiError as error:
                log.info("the address of the upload proxy cannot be told", error=str(error))
            await backoff.pause()

    async def _tell(self, config: CDIConfig, wanted: dict[str, dict[str, str]]) -> None:
        status = config.status
        told = (status.upload_proxy_url, status.upload_proxy_ca)
        if config.metadata.name == "config" and told != tuple(wanted["status"].values()):
            await self._client.patch(CDIConfig, config.key, wanted, how=Patch.MERGE)

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="OK")

    async def _head(self, request: web.Request) -> web.StreamResponse:
        return web.Response()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        try:
            claim = self._allowed(request)
            url, archive = await self._receiver(*claim)
        except _Answer as answer:
            return web.Response(status=answer.code, text=str(answer))
        except KvtuiError as error:
            log.warning("an upload cannot be passed on", error=str(error))
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=str(error))
        verb = ARCHIVE if archive else request.path.rpartition("/")[2]
        headers = {
            name: request.headers[name] for name in ("Content-Type", "Content-Length") if name in request.headers
        }
        try:
            async with self._agents.upload("POST", f"{url}/{verb}", request.content, headers) as answer_:
                body = await answer_.content.read(LONGEST_ANSWER)
                answer_.close()  # an answer in the middle of the body is the last word: nobody waits for the rest
                text = str(error_of(answer_.status, body)) if answer_.content_type == "application/json" else None
                return web.Response(status=answer_.status, text=body.decode(errors="replace") if text is None else text)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("an upload broke off", claim="/".join(claim), error=str(error) or type(error).__name__)
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="the upload was interrupted")

    def _allowed(self, request: web.Request) -> tuple[str, str]:
        """Namespace and name of the claim. Raises _Answer."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise _Answer(HTTPStatus.BAD_REQUEST, "missing or malformed Authorization header")
        try:
            token = tokens.verify(self._key, text.strip(), self._now())
        except Forbidden as error:
            raise _Answer(HTTPStatus.UNAUTHORIZED, str(error)) from error
        if token.operation != tokens.UPLOAD:
            raise _Answer(HTTPStatus.BAD_REQUEST, f"token operation {token.operation!r} is not {tokens.UPLOAD!r}")
        return token.namespace, token.name

    async def _receiver(self, namespace: str, name: str) -> tuple[str, bool]:
        """The agent's URL for the upload, once its worker takes one, and whether an archive is waited for.

        Raises _Answer (503).
        """
        backoff = Backoff(0.2, 1.0)
        refusal = _unavailable(f"timed out waiting for the upload server of PVC {name} to be ready")
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    claim = await self._client.find(PersistentVolumeClaim, (namespace, name))
                    if claim is None:
                        raise _unavailable(f"rejecting Upload Request for PVC {name} that doesn't exist")
                    notes = claim.metadata.annotations
                    if TARGET not in notes:
                        raise _unavailable(f"PVC {name} is not an upload target")
                    if notes.get(POD_PHASE) == "Succeeded":
                        raise _unavailable(f"rejecting Upload Request for PVC {name} that already finished uploading")
                    if notes.get(POD_READY) == "true":
                        url = await self._worker(namespace, notes.get(POD_NAME, ""))
                        if url:
                            return url, notes.get(CONTENT) == "archive"
                    await backoff.pause()
        except TimeoutError as error:
            raise refusal from error

    async def _worker(self, namespace: str, name: str) -> str:
        """Empty while nobody answers for it."""
        pod = await self._client.find(Pod, (namespace, name)) if name else None
        if pod is None or not pod.spec.node_name:
            return ""
        try:
            url = f"{await self._agents.base(pod.spec.node_name)}/v1/namespaces/{namespace}/uploads/{name}"
            async with self._agents.upload("GET", url) as answer:
                return url if answer.status == HTTPStatus.OK else ""
        except (Refused, aiohttp.ClientError, TimeoutError, OSError):
            return ""


def _unavailable(text: str) -> _Answer:
    return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, text)


async def _listen(
    factory: Callable[[], asyncio.Protocol],
    hosts: Sequence[str],
    ports: Sequence[int],
    tls: ssl.SSLContext,
    listeners: list[asyncio.Server],
) -> int:
    """The port that all hosts have. Raises OSError when none of the ports is free."""
    loop = asyncio.get_running_loop()
    problem: OSError | None = None
    for port in ports:
        try:
            for host in hosts:
                listener = await loop.create_server(factory, host, port, ssl=tls, ssl_handshake_timeout=HANDSHAKE)
                listeners.append(listener)
                port = port or int(listener.sockets[0].getsockname()[1])
        except OSError as error:
            problem = error
            while listeners:
                listeners.pop().close()
        else:
            return port
    raise problem or OSError("there is no port to listen on")


@web.middleware
async def _cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Pages of any origin may upload: the token decides."""
    if request.method == "OPTIONS":
        return web.Response(status=HTTPStatus.NO_CONTENT, headers=_CORS)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, text=error.reason)
    if not response.prepared:
        response.headers.update(_CORS)
    return response

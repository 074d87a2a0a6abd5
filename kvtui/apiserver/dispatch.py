"""From an HTTP request to its answer: authenticate, limit, route, authorize, handle, and say what went wrong."""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLObject
from weakref import WeakKeyDictionary

import structlog
from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.apiserver import router, status
from kvtui.apiserver.audit import Audit
from kvtui.apiserver.auth import impersonation
from kvtui.apiserver.auth.identity import ANONYMOUS, Authenticator, from_certificate
from kvtui.apiserver.auth.rbac import Authorizer
from kvtui.apiserver.connections import Connections
from kvtui.apiserver.endpoints.health import Metrics
from kvtui.apiserver.extension import Extension
from kvtui.apiserver.http import Call, failure_response, parse_query
from kvtui.apiserver.router import Target
from kvtui.apiserver.turns import Turns
from kvtui.errors import KvtuiError
from kvtui.settings import ApiServerSettings

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
log = structlog.get_logger()
_LONG = ("watch",)
_LONG_SUBRESOURCES = ("log", "exec", "attach", "portforward", "proxy")
_WS_TOKEN = "base64url.bearer.authorization.k8s.io."  # noqa: S105
_BACKUP = "/kvtui/backup"
_OPEN_PATHS = ("/version", "/healthz", "/livez", "/readyz")
_READ_VERBS = ("get", "list", "watch", "head")


class Dispatcher:
    """Answers requests."""

    def __init__(
        self,
        settings: ApiServerSettings,
        authenticator: Authenticator,
        authorizer: Authorizer,
        handler: Handler,
        *,
        extensions: Sequence[Extension],
        hosts: frozenset[str],
        audit: Audit,
        metrics: Metrics,
        connections: Connections,
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._handler = handler
        self._extensions = {gv.group: e for e in extensions for gv in e.group_versions}
        self._hosts = hosts
        self._audit = audit
        self._audit_prefix = str(uuid.uuid4())
        self._numbers = itertools.count(1)
        self._metrics = metrics
        self._connections = connections
        self._reads = 0
        self._writes = 0
        self._watches: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._turns = Turns()
        self._identities: WeakKeyDictionary[SSLObject, UserInfo | None] = WeakKeyDictionary()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Never raises: every failure becomes a Status."""
        self._connections.begin(request.protocol)
        try:
            await self._turns.wait()
            return await self._handle(request)
        finally:
            self._connections.end(request.protocol)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        started = time.monotonic()
        audit_id = request.headers.get("Audit-Id", "")[:64] or f"{self._audit_prefix}-{next(self._numbers)}"
        target: Target | None = None
        user = actor = ANONYMOUS
        warnings: list[str] = []
        try:
            self._check_origin(request)
            user = actor = self._authenticate(request)
            self._connections.claim(request.protocol, actor.username)
            raw_path, _, raw_query = request.raw_path.partition("?")
            query = parse_query(raw_query)
            target = router.route(request.method, raw_path, query)
            user = impersonation.impersonate(request.headers, user, self._authorizer)
            call = Call(request, target, query, user, warnings)
            response = await self._limited(call, audit_id, actor)
        except status.Failure as failure:
            response = failure_response(failure, warnings)
        except (asyncio.CancelledError, ConnectionError, web.HTTPRedirection):
            raise
        except KvtuiError as error:
            log.error("request failed", audit_id=audit_id, path=request.path, error=str(error))
            response = failure_response(status.internal(str(error)))
        except Exception:
            # One request must never take the server down; the details belong to the log only.
            log.exception("unexpected failure", audit_id=audit_id, path=request.path)
            response = failure_response(status.internal(f"see the server's log for {audit_id}"))
        seconds = time.monotonic() - started
        if not response.prepared:
            response.headers["Audit-Id"] = audit_id
        if target is not None:
            self._metrics.observe(target, response.status, seconds)
            self._audit.record(audit_id, request, target, actor, user, response.status, seconds)
        return response

    def _check_origin(self, request: web.Request) -> None:
        """Names that are not ours mean DNS rebinding; pages of other origins have no business here."""
        host = request.host.rpartition(":")[0] if request.host.count(":") == 1 else request.host
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        if host.lower() not in self._hosts:
            raise status.Failure(421, "", f"this server is not called {host!r}")
        if request.headers.get("Origin"):
            raise status.Failure(403, "Forbidden", "requests from web pages of other origins are not allowed")

    def _authenticate(self, request: web.Request) -> UserInfo:
        transport = request.transport
        if transport is not None:
            user = self._of_connection(transport)
            if user is not None:
                return user
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise status.unauthorized()
            return self._authenticator.of_token(token.strip())
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        for protocol in offered.split(","):
            name = protocol.strip()
            if name.startswith(_WS_TOKEN):
                return self._authenticator.of_token(_decode_token(name[len(_WS_TOKEN) :]))
        return ANONYMOUS

    def _of_connection(self, transport: asyncio.Transport) -> UserInfo | None:
        """The user of the client certificate; looked up once per connection."""
        tls: SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is None:
            return None
        if tls not in self._identities:
            self._identities[tls] = from_certificate(tls.getpeercert())
        return self._identities[tls]

    async def _limited(self, call: Call, audit_id: str, actor: UserInfo) -> web.StreamResponse:
        target = call.target
        self._authorize(call)
        if target.verb in _LONG:
            return await self._counted(
                call, self._watches, self._settings.max_watches, self._settings.max_watches_per_user
            )
        if target.subresource in _LONG_SUBRESOURCES or target.group in self._extensions or target.path == _BACKUP:
            # It may go on for hours: that it has begun is worth a line of its own.
            self._audit.record(audit_id, call.request, target, actor, call.user, 0, 0.0, "RequestReceived")
            return await self._counted(
                call, self._streams, self._settings.max_streams, self._settings.max_streams_per_user
            )
        reading = target.verb in _READ_VERBS
        if (self._reads >= self._settings.max_reads) if reading else (self._writes >= self._settings.max_writes):
            raise status.too_many_requests()
        if reading:
            self._reads += 1
        else:
            self._writes += 1
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                return await self._handler(call)
        except TimeoutError as error:
            raise status.deadline() from error
        finally:
            if reading:
                self._reads -= 1
            else:
                self._writes -= 1

    async def _counted(self, call: Call, open_: Counter[str], limit: int, of_user: int) -> web.StreamResponse:
        name = call.user.username
        if open_[name] >= of_user or open_.total() >= limit:
            what = "watches" if open_ is self._watches else "streams"
            raise status.too_many_requests(f"too many {what} are open, please try again later")
        open_[name] += 1
        try:
            return await self._handler(call)
        finally:
            open_[name] -= 1
            if not open_[name]:
                del open_[name]

    def _authorize(self, call: Call) -> None:
        """Raises Failure 401, 403."""
        target, user = call.target, call.user
        if "/" + (target.segments[0] if target.segments else "") in _OPEN_PATHS:
            return
        extension = (
            self._extensions.get(target.segments[1])
            if target.segments[:1] == ("apis",) and len(target.segments) > 1
            else None
        )
        if extension is not None and extension.is_open(target.path):
            return
        wanted = target.attributes(call.query.get("labelSelector", ""))
        if self._authorizer.allows(user, wanted):
            return
        if user is ANONYMOUS:
            raise status.unauthorized()
        if not target.is_resource:
            raise status.forbidden_path(user.username, target.verb, target.path)
        raise status.forbidden(target.group, target.resource, target.name, self._authorizer.denial(user, wanted))


def _decode_token(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise status.unauthorized() from error

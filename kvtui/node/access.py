"""Who may call an agent: the API server, and other agents for what a migration needs. Decided by client certificates.

Source: RFC 5280; the certificates are those of the engine's own authority.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from kvtui.api.meta import Status
from kvtui.api.wire import to_json
from kvtui.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    InvalidObject,
    KvtuiError,
    NotFound,
    Transient,
    Unreachable,
    Unsupported,
)
from kvtui.node.hypervisor import AgentUnavailable, HypervisorRefused, NotRunning

SERVERS = frozenset({"kvtui:apiserver", "system:masters", "kubeadm:cluster-admins"})
NODES = "system:nodes"
PEER_PATHS = ("/console/history", "/migration/target")
"""Ends of the paths that other agents may call."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def contexts(certificate: str, key: str, authority: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for serving and for calling other agents; both ends show a certificate of our authority."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return server, client


def groups(certificate: dict[str, Any] | None) -> frozenset[str]:
    """The organizations of a verified certificate."""
    subject = (certificate or {}).get("subject", ())
    return frozenset(value for row in subject for name, value in row if name == "organizationName")


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets in whom the certificate allows, and turns our errors into Status bodies."""
    try:
        if request.transport is not None and request.path != "/healthz":
            held = groups(request.transport.get_extra_info("peercert"))
            peer = NODES in held and request.path.endswith(PEER_PATHS)
            if not held & SERVERS and not peer:
                raise Forbidden("this certificate may not call the agent")
        return await handler(request)
    except KvtuiError as error:
        return failure(error)


def failure(error: KvtuiError) -> web.Response:
    """The answer for an error."""
    match error:
        case NotFound():
            code, reason = 404, "NotFound"
        case Forbidden():
            code, reason = 403, "Forbidden"
        case Invalid() | InvalidObject():
            code, reason = 400, "BadRequest"
        case Conflict() | AlreadyExists() | NotRunning():
            code, reason = 409, "Conflict"
        case AgentUnavailable():
            code, reason = 500, "InternalError"
        case Unsupported():
            code, reason = 501, "NotImplemented"
        case Unreachable():
            code, reason = 503, "ServiceUnavailable"
        case HypervisorRefused():
            code, reason = 500, "InternalError"
        case Transient():
            code, reason = 503, "ServiceUnavailable"
        case _:
            code, reason = 500, "InternalError"
    body = Status(status="Failure", message=str(error), reason=reason, code=code)
    return web.Response(status=code, body=to_json(body), content_type="application/json")

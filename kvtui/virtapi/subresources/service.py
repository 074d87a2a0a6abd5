"""Both groups as an extension of the API server: which path is which verb, and errors as Status bodies.

Source: control plane facts 6; CDI facts 1.3.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from kvtui.api.admission import UserInfo
from kvtui.api.wire import to_json
from kvtui.errors import ApiError, KvtuiError
from kvtui.virtapi.subresources import cluster_verbs, tokens, vm_verbs, vmi_verbs
from kvtui.virtapi.subresources.cluster_verbs import Release
from kvtui.virtapi.subresources.context import Call, Context, json_answer
from kvtui.virtapi.subresources.discovery import (
    GROUP,
    GROUP_NAME,
    UPLOAD_GROUP,
    UPLOAD_RESOURCES,
    UPLOAD_VERSION,
    VERSIONS,
    GroupVersion,
    resources,
)
from kvtui.virtapi.subresources.refusals import PlainRefusal, Refused, bad_request, internal
from kvtui.virtapi.subresources.traffic import Traffic

log = structlog.get_logger()

Handler = Callable[[Context, Call], Awaitable[web.StreamResponse]]

OPEN = ("version", "guestfs", "healthz", "start-cluster-profiler", "stop-cluster-profiler", "dump-cluster-profiler")
"""Last words of paths that need no authorization."""

VM_HANDLERS: dict[tuple[str, str], Handler] = {
    ("PUT", "start"): vm_verbs.start,
    ("PUT", "stop"): vm_verbs.stop,
    ("PUT", "restart"): vm_verbs.restart,
    ("PUT", "migrate"): vm_verbs.migrate,
    ("PUT", "addvolume"): vm_verbs.add_volume,
    ("PUT", "removevolume"): vm_verbs.remove_volume,
    ("PUT", "memorydump"): vm_verbs.memory_dump,
    ("PUT", "removememorydump"): vm_verbs.remove_memory_dump,
    ("PUT", "evacuate/cancel"): vm_verbs.cancel_evacuation,
    ("GET", "expand-spec"): vm_verbs.expand_spec,
    ("GET", "objectgraph"): vm_verbs.object_graph,
    ("GET", "portforward"): vm_verbs.portforward,
}
VMI_HANDLERS: dict[tuple[str, str], Handler] = {
    ("PUT", "pause"): vmi_verbs.pause,
    ("PUT", "unpause"): vmi_verbs.unpause,
    ("PUT", "freeze"): vmi_verbs.freeze,
    ("PUT", "unfreeze"): vmi_verbs.unfreeze,
    ("PUT", "softreboot"): vmi_verbs.softreboot,
    ("PUT", "reset"): vmi_verbs.reset,
    ("PUT", "addvolume"): vmi_verbs.add_volume,
    ("PUT", "removevolume"): vmi_verbs.remove_volume,
    ("PUT", "evacuate/cancel"): vm_verbs.cancel_evacuation,
    ("PUT", "backup"): vmi_verbs.backup,
    ("PUT", "redefine-checkpoint"): vmi_verbs.redefine_checkpoint,
    ("PUT", "sev/setupsession"): vmi_verbs.sev_setup_session,
    ("PUT", "sev/injectlaunchsecret"): vmi_verbs.sev_inject_secret,
    ("GET", "sev/fetchcertchain"): vmi_verbs.sev_cert_chain,
    ("GET", "sev/querylaunchmeasurement"): vmi_verbs.sev_measurement,
    ("GET", "guestosinfo"): vmi_verbs.guest_os,
    ("GET", "userlist"): vmi_verbs.users,
    ("GET", "filesystemlist"): vmi_verbs.filesystems,
    ("GET", "objectgraph"): vm_verbs.vmi_object_graph,
    ("GET", "vnc/screenshot"): vmi_verbs.screenshot,
    ("GET", "console"): vmi_verbs.console,
    ("GET", "vnc"): vmi_verbs.vnc,
    ("GET", "usbredir"): vmi_verbs.usbredir,
    ("GET", "vsock"): vmi_verbs.vsock,
    ("GET", "portforward"): vmi_verbs.portforward,
}
HANDLERS = {"virtualmachines": VM_HANDLERS, "virtualmachineinstances": VMI_HANDLERS}


class Subresources:
    """Serves subresources.kubevirt.io and upload.cdi.kubevirt.io. Call `close` at the end."""

    def __init__(
        self,
        context: Context,
        upload_key: rsa.RSAPrivateKey,
        *,
        release: Release | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`upload_key` signs upload tokens; `now` is in seconds since 1970."""
        self._context = context
        self._upload_key = upload_key
        self._release = release or Release()
        self._now = now

    @property
    def group_versions(self) -> tuple[GroupVersion, ...]:
        """In order of preference."""
        return (
            *(GroupVersion(GROUP, version, resources(), GROUP_NAME) for version in VERSIONS),
            GroupVersion(UPLOAD_GROUP, UPLOAD_VERSION, UPLOAD_RESOURCES),
        )

    def is_open(self, path: str) -> bool:
        """Whether a path needs no authorization."""
        words = path.strip("/").split("/")
        return len(words) == 4 and words[:2] == ["apis", GROUP] and words[3] in OPEN

    @property
    def traffic(self) -> Traffic:
        """Who is connected to which guest."""
        return self._context.traffic

    async def close(self) -> None:
        await self._context.agents.close()

    async def handle(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        """Answers a request below /apis/<group>/<version>/. Errors become answers."""
        try:
            return await self._answer(request, user)
        except PlainRefusal as refusal:
            return web.Response(status=refusal.code, text=str(refusal))
        except Refused as refusal:
            return _failure(refusal)
        except ApiError as error:
            return _failure(Refused(error.code or 500, error.reason, str(error), causes=error.causes))
        except KvtuiError as error:
            return _failure(internal(str(error)))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            # One request must never take the server down; the details belong to the log only.
            log.exception("unexpected failure", path=request.path)
            return _failure(internal("see the server's log"))

    async def _answer(self, request: web.Request, user: UserInfo) -> web.StreamResponse:
        raw_path = request.raw_path.partition("?")[0]
        words = [unquote(word) for word in raw_path.strip("/").split("/")]
        if len(words) < 4 or words[0] != "apis":
            raise _unknown()
        group, rest = words[1], words[3:]
        if group == UPLOAD_GROUP:
            return await self._upload_token(request, user, rest)
        match rest:
            case ["version"]:
                return cluster_verbs.version(self._release)
            case ["guestfs"]:
                return cluster_verbs.guestfs(self._release)
            case ["healthz"]:
                return await cluster_verbs.healthz(self._context, Call(request, user))
            case ["start-cluster-profiler" | "stop-cluster-profiler" | "dump-cluster-profiler"]:
                return await cluster_verbs.cluster_profiler(self._context, Call(request, user))
            case ["namespaces", namespace, "expand-vm-spec"]:
                _only(request, "PUT")
                return await vm_verbs.expand_vm_spec(self._context, Call(request, user, namespace))
            case ["namespaces", namespace, resource, name, *verb] if resource in HANDLERS:
                handler, more = _handler(HANDLERS[resource], request.method, verb)
                return await handler(self._context, Call(request, user, namespace, name, more))
            case _:
                raise _unknown()

    async def _upload_token(self, request: web.Request, user: UserInfo, rest: list[str]) -> web.StreamResponse:
        """The claim need not exist."""
        if len(rest) != 3 or rest[0] != "namespaces" or rest[2] != "uploadtokenrequests":
            raise _unknown()
        _only(request, "POST")
        namespace = rest[1]
        body: dict[str, Any] = await Call(request, user, namespace).content() or {}
        spec = body.get("spec")
        claim = spec.get("pvcName") if isinstance(spec, dict) else None
        if not isinstance(claim, str) or not claim:
            raise bad_request("spec.pvcName is required")
        token = tokens.sign(self._upload_key, tokens.Token(tokens.UPLOAD, namespace, claim), self._now())
        metadata = body.get("metadata") if isinstance(body.get("metadata"), dict) else {}
        return json_answer(
            {
                "apiVersion": f"{UPLOAD_GROUP}/{UPLOAD_VERSION}",
                "kind": "UploadTokenRequest",
                "metadata": {**(metadata or {}), "namespace": namespace},
                "spec": {"pvcName": claim},
                "status": {"token": token},
            }
        )


def _handler(handlers: dict[tuple[str, str], Handler], method: str, verb: list[str]) -> tuple[Handler, tuple[str, ...]]:
    """The handler, and what of the path follows its verb. Raises Refused (404, 405)."""
    if verb[:1] == ["portforward"]:
        verb, more = verb[:1], tuple(verb[1:])
    else:
        more = ()
    name = "/".join(verb)
    handler = handlers.get((method, name))
    if handler is not None:
        return handler, more
    if any(known == name for _, known in handlers):
        raise _method(method)
    raise _unknown()


def _only(request: web.Request, method: str) -> None:
    if request.method != method:
        raise _method(request.method)


def _method(method: str) -> Refused:
    return Refused(405, "MethodNotAllowed", f"the server does not allow {method} on the requested resource")


def _unknown() -> Refused:
    return Refused(404, "NotFound", "the server could not find the requested resource")


def _failure(refusal: Refused) -> web.Response:
    return web.Response(status=refusal.code, body=to_json(refusal.status), content_type="application/json")

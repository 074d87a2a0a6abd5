"""TokenRequest: short-lived tokens for ServiceAccounts.

Source: https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from kvtui.api.times import to_time
from kvtui.apiserver import bodies, status
from kvtui.apiserver.auth.tokens import AUDIENCE, Bound, Claims, Tokens
from kvtui.apiserver.http import Call, json_response
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]
_MIN_SECONDS = 600
_MAX_SECONDS = 2**32
_DEFAULT_SECONDS = 3600
_BUCKETS = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


async def token(call: Call, objects: Objects, info: ResourceInfo, tokens: Tokens) -> web.StreamResponse:
    """POST serviceaccounts/…/token. Raises Failure 400, 404, 409, 422."""
    options = call.write_options()
    request, _ = bodies.decode(await call.body(), call.content_type)
    namespace, name = call.target.namespace, call.target.name
    account = objects.get(info, namespace, name)
    spec = request.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    seconds = spec.get("expirationSeconds")
    seconds = _DEFAULT_SECONDS if seconds is None else seconds
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise status.bad_request("spec.expirationSeconds must be an integer")
    if seconds < _MIN_SECONDS or seconds > _MAX_SECONDS:
        detail = (
            "may not specify a duration less than 10 minutes"
            if seconds < _MIN_SECONDS
            else "may not specify a duration larger than 2^32 seconds"
        )
        cause = status.invalid_value("spec.expirationSeconds", seconds, detail)
        raise status.invalid("authentication.k8s.io", "TokenRequest", name, [cause])
    await objects.admit_subresource(info, account, "token", request, options)
    now = int(objects.clock().timestamp())
    audiences = tuple(str(a) for a in spec.get("audiences") or ()) or (AUDIENCE,)
    claims = Claims(
        namespace=namespace,
        account=name,
        account_uid=account.uid,
        audiences=audiences,
        expires=now + seconds,
        issued=now,
        bound=_bound(objects, namespace, spec.get("boundObjectRef")),
    )
    body: Object = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": to_time(objects.clock())},
        "spec": {**spec, "audiences": list(audiences), "expirationSeconds": seconds},
        "status": {
            "token": "" if options.dry_run else tokens.issue(claims),
            "expirationTimestamp": to_time(datetime.fromtimestamp(now + seconds, UTC)),
        },
    }
    body["spec"].setdefault("boundObjectRef", None)
    return json_response(body, code=201, warnings=call.warnings)


def _bound(objects: Objects, namespace: str, ref: object) -> Bound | None:
    if not isinstance(ref, dict) or not ref:
        return None
    kind, name, uid = str(ref.get("kind") or ""), str(ref.get("name") or ""), str(ref.get("uid") or "")
    if kind not in _BUCKETS:
        raise status.bad_request(f"cannot bind token for serviceaccount to object of kind {kind}")
    record = objects.store.bucket(_BUCKETS[kind]).get(("" if kind == "Node" else namespace, name))
    if record is None:
        raise status.not_found("", _BUCKETS[kind], name)
    if uid and uid != record.uid:
        raise status.conflict(
            "",
            _BUCKETS[kind],
            name,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might have "
            "been deleted and then recreated",
        )
    return Bound(kind, name, record.uid)

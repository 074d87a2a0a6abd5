"""Review kinds: questions about identity and permission that are answered and not stored.

Source: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/,
https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from kvtui.api.admission import UserInfo
from kvtui.apiserver import status
from kvtui.apiserver.auth.identity import AUTHENTICATED, Authenticator
from kvtui.apiserver.auth.rbac import Attributes, Authorizer, Rule
from kvtui.apiserver.auth.tokens import AUDIENCE
from kvtui.apiserver.endpoints.rest import decode_body
from kvtui.apiserver.http import Call, json_response
from kvtui.apiserver.negotiation import Form
from kvtui.apiserver.resources import ResourceInfo

Object = dict[str, Any]
KINDS = (
    "SelfSubjectReview",
    "TokenReview",
    "LocalSubjectAccessReview",
    "SelfSubjectAccessReview",
    "SelfSubjectRulesReview",
    "SubjectAccessReview",
)


class Reviews:
    """Answers the review kinds."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer

    async def create(self, call: Call, info: ResourceInfo) -> web.StreamResponse:
        if call.wanted.form is not Form.FULL:
            raise status.not_acceptable()
        obj, _ = await decode_body(call, info)
        spec = obj.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        match info.kind:
            case "SelfSubjectReview":
                answer: Object = {"userInfo": shown(call.user)}
            case "TokenReview":
                answer = self._token(spec)
            case "SelfSubjectRulesReview":
                answer = self._rules(call.user, spec)
            case "SelfSubjectAccessReview":
                answer = self._access(call.user, spec)
            case _:
                answer = self._access(self._subject(spec), spec, call.target.namespace)
        meta: Object = {"creationTimestamp": None}
        if call.target.namespace:
            meta["namespace"] = call.target.namespace
        body = {"kind": info.kind, "apiVersion": info.api_version, "metadata": meta, "spec": spec, "status": answer}
        if info.kind == "SelfSubjectReview":
            del body["spec"]
        return json_response(body, code=201, warnings=call.warnings)

    def _subject(self, spec: Object) -> UserInfo:
        if not spec.get("user") and not spec.get("groups"):
            raise status.Failure(
                422,
                "Invalid",
                'SubjectAccessReview.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one '
                "of user or group must be specified",
            )
        groups = tuple(str(g) for g in spec.get("groups") or spec.get("group") or ())
        return UserInfo(str(spec.get("user") or ""), uid=str(spec.get("uid") or ""), groups=groups)

    def _access(self, user: UserInfo, spec: Object, namespace: str = "") -> Object:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if isinstance(resource, dict) == isinstance(path, dict):
            raise status.Failure(
                422,
                "Invalid",
                'SelfSubjectAccessReview.authorization.k8s.io "" is invalid: spec.resourceAttributes: Invalid value: '
                "null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            )
        if isinstance(resource, dict):
            if namespace and resource.get("namespace") != namespace:
                raise status.bad_request("namespace must match the namespace of the request")
            wanted = attributes(resource)
        else:
            assert isinstance(path, dict)
            wanted = Attributes(verb=str(path.get("verb") or ""), path=str(path.get("path") or ""))
        allowed = self._authorizer.allows(user, wanted)
        return {"allowed": allowed, "reason": "RBAC: allowed" if allowed else ""}

    def _rules(self, user: UserInfo, spec: Object) -> Object:
        resources: list[Object] = []
        paths: list[Object] = []
        seen: set[Rule] = set()
        complete = self._authorizer.is_complete(user)
        for rule in self._authorizer.rules(user, str(spec.get("namespace") or "")):
            if rule in seen:
                continue
            seen.add(rule)
            (paths if rule.paths else resources).append(rule.wire())
        return {"resourceRules": resources, "nonResourceRules": paths, **_completeness(complete)}

    def _token(self, spec: Object) -> Object:
        token = spec.get("token")
        if not isinstance(token, str) or not token:
            raise status.bad_request("token is required for TokenReview in authentication")
        audiences = tuple(str(a) for a in spec.get("audiences") or ()) or (AUDIENCE,)
        try:
            user = self._authenticator.of_token(token, audiences)
        except status.Failure:
            return {"authenticated": False, "user": {}, "error": "[invalid bearer token]"}
        return {"authenticated": True, "user": shown(user), "audiences": list(audiences)}


def _completeness(complete: bool) -> Object:
    if complete:
        return {"incomplete": False}
    return {"incomplete": True, "evaluationError": "node authorizer does not support user rule resolution"}


def attributes(resource: Mapping[str, Any]) -> Attributes:
    def text(key: str) -> str:
        return str(resource.get(key) or "")

    return Attributes(
        verb=text("verb"),
        group=text("group"),
        version=text("version"),
        resource=text("resource"),
        subresource=text("subresource"),
        namespace=text("namespace"),
        name=text("name"),
    )


def shown(user: UserInfo) -> Object:
    groups = list(user.groups)
    if AUTHENTICATED not in groups and user.username != "system:anonymous":
        groups.append(AUTHENTICATED)
    result: Object = {"username": user.username, "groups": groups}
    if user.uid:
        result["uid"] = user.uid
    if user.extra:
        result["extra"] = user.extra
    return result

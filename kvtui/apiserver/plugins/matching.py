"""Which requests a policy or a webhook is about: resource rules, selectors, and what their expressions see.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from kvtui.api.admission import AdmissionRequest
from kvtui.apiserver import selectors
from kvtui.apiserver.plugins.base import Object, meta
from kvtui.apiserver.resources import ResourceInfo, Resources, version_order
from kvtui.apiserver.store import Store


class Matching:
    """Answers from the registry and the stored namespaces."""

    def __init__(self, store: Store, resources: Resources) -> None:
        self._store = store
        self._resources = resources
        self._namespaces = store.bucket("namespaces")

    def info(self, request: AdmissionRequest) -> ResourceInfo | None:
        return self._resources.find(request.group, request.version, request.resource)

    def concerns(self, match: Object, request: AdmissionRequest, *, everything: bool) -> bool:
        """Whether resource rules and selectors take a request in. `everything`: no rules mean all resources."""
        rules, excluded = match.get("resourceRules") or (), match.get("excludeResourceRules") or ()
        if excluded and self.version(excluded, match, request):
            return False
        if not (everything and not rules) and not self.version(rules, match, request):
            return False
        return self.selects(match, request)

    def version(self, rules: Sequence[Object], match: Object, request: AdmissionRequest) -> str:
        """The version in which the first rule that covers a request wants to see it; empty if none does.

        With the match policy Equivalent a rule covers all versions of a resource.
        """
        if any(covers(rule, request, request.version) for rule in rules):
            return request.version
        if match.get("matchPolicy", "Equivalent") != "Equivalent":
            return ""
        others = self._versions(request)
        return next((v for rule in rules for v in others if covers(rule, request, v)), "")

    def _versions(self, request: AdmissionRequest) -> list[str]:
        info = self.info(request)
        if info is None:
            return []
        same = {i.version for i in self._resources.all if i.bucket == info.bucket and i.group == request.group}
        return sorted(same - {request.version}, key=version_order)

    def selects(self, match: Object, request: AdmissionRequest) -> bool:
        """Whether the selectors for namespaces and objects let a request through."""
        return self._in_namespace(match, request) and _selected(match, request)

    def _in_namespace(self, match: Object, request: AdmissionRequest) -> bool:
        selector = match.get("namespaceSelector")
        if not selector:
            return True
        if request.resource == "namespaces" and not request.group:
            return matches(selector, request.object or request.old_object)
        return not request.namespace or matches(selector, self.namespace(request.namespace))

    def namespace(self, name: str) -> Object | None:
        record = self._namespaces.get_latest(("", name)) if name else None
        return record.decode() if record is not None else None

    def params(self, policy: Object, binding: Object, request: AdmissionRequest) -> list[Object | None]:
        """The parameters of a policy where it is bound.

        Raises NotEvaluated when there are none and the binding does not allow that.
        """
        from kvtui.apiserver.schema.cel_policy import NotEvaluated  # brings a library that most servers never need

        kind, reference = policy.get("paramKind"), binding.get("paramRef")
        if not kind or not reference:
            return [None]
        info = self._resources.by_kind(str(kind.get("apiVersion")), str(kind.get("kind")))
        if info is None:
            raise NotEvaluated(f"failed to find resource referenced by paramKind: '{kind.get('apiVersion')}'")
        namespace = (reference.get("namespace") or request.namespace) if info.namespaced else ""
        bucket = self._store.bucket(info.bucket)
        if reference.get("name"):
            record = bucket.get((namespace, reference["name"]))
            found = [record.decode()] if record is not None else []
        else:
            objs = (r.decode() for r in bucket.snapshot(namespace))
            found = [o for o in objs if matches(reference.get("selector") or {}, o)]
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise NotEvaluated("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [*found]

    def data(self, request: AdmissionRequest, params: Object | None = None) -> dict[str, Any]:
        """What expressions see."""
        from kvtui.apiserver.schema.cel import to_cel  # brings a library that most servers never need

        info = self.info(request)
        group_version = {"group": request.group, "version": request.version}

        def shown(obj: Object | None) -> Any:
            return to_cel(obj, info.node) if obj is not None and info is not None else obj

        return {
            "object": shown(request.object),
            "oldObject": shown(request.old_object),
            "params": params,
            "namespaceObject": self.namespace(request.namespace),
            "variables": {},
            "request": {
                "uid": str(uuid.uuid4()),
                "kind": {**group_version, "kind": info.kind if info else ""},
                "resource": {**group_version, "resource": request.resource},
                "subResource": request.subresource,
                "name": request.name,
                "namespace": request.namespace,
                "operation": request.operation,
                "dryRun": request.dry_run,
                "userInfo": user_info(request),
            },
        }


def user_info(request: AdmissionRequest) -> Object:
    """Who asks, as reviews and expressions show it."""
    user = request.user
    return {
        "username": user.username,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": {k: list(v) for k, v in user.extra.items()},
    }


def covers(rule: Object, request: AdmissionRequest, version: str) -> bool:
    """Whether a resource rule names what a request is about, in this version."""

    def listed(key: str, value: str) -> bool:
        given = rule.get(key) or ()
        return "*" in given or value in given

    names = rule.get("resourceNames") or ()
    scope = rule.get("scope", "*")
    inside = bool(request.namespace) and request.resource != "namespaces"
    return (
        listed("operations", request.operation)
        and listed("apiGroups", request.group)
        and listed("apiVersions", version)
        and _resource_listed(rule.get("resources") or (), request)
        and (not names or request.name in names)
        and (scope == "*" or (scope == "Namespaced") == inside)
    )


def _resource_listed(given: Any, request: AdmissionRequest) -> bool:
    if not request.subresource:
        return request.resource in given or "*" in given or "*/*" in given
    sub = request.subresource
    return any(entry in given for entry in (f"{request.resource}/{sub}", f"{request.resource}/*", f"*/{sub}", "*/*"))


def _selected(match: Object, request: AdmissionRequest) -> bool:
    selector = match.get("objectSelector")
    return not selector or any(matches(selector, o) for o in (request.object, request.old_object) if o is not None)


def matches(selector: Object, obj: Object | None) -> bool:
    labels = meta(obj).get("labels") or {}
    return selectors.from_object(selector).matches(labels)

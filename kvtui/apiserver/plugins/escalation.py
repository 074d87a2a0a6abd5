"""Nobody gives away rights that they do not have.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping.
"""

from __future__ import annotations

import msgspec

from kvtui.api.admission import AdmissionRequest, Denied
from kvtui.apiserver.auth.rbac import Attributes, Authorizer, Rule
from kvtui.apiserver.plugins.base import Object, Plugin
from kvtui.errors import Cause

_GROUP = "rbac.authorization.k8s.io"
_ROLES = ("roles", "clusterroles")
_BINDINGS = ("rolebindings", "clusterrolebindings")


class Escalation(Plugin):
    """Guards roles (verb `escalate`) and bindings (verb `bind`)."""

    resources = frozenset((_GROUP, plural) for plural in (*_ROLES, *_BINDINGS))

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def validate(self, request: AdmissionRequest) -> list[str]:
        if request.object is None:
            return []
        if request.resource in _ROLES:
            self._check_role(request, request.object)
        else:
            self._check_binding(request, request.object)
        return []

    def _check_role(self, request: AdmissionRequest, role: Object) -> None:
        if request.old_object is not None and request.old_object.get("rules") == role.get("rules"):
            return
        rules = role.get("rules") or []
        aggregates = bool(role.get("aggregationRule"))
        if aggregates:
            rules = [*rules, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        self._require(request, rules, "escalate", request.resource, request.name)

    def _check_binding(self, request: AdmissionRequest, binding: Object) -> None:
        if request.old_object is not None and request.old_object.get("subjects") == binding.get("subjects"):
            return
        ref = binding.get("roleRef") or {}
        cluster = ref.get("kind") == "ClusterRole"
        rules = self._authorizer.role_rules(request.namespace, ref.get("name", ""), cluster=cluster)
        wire = [rule.wire() for rule in rules]
        self._require(request, wire, "bind", "clusterroles" if cluster else "roles", ref.get("name", ""))

    def _require(self, request: AdmissionRequest, rules: list[Object], verb: str, resource: str, name: str) -> None:
        user = request.user
        wanted = Attributes(verb, group=_GROUP, resource=resource, namespace=request.namespace, name=name)
        if self._authorizer.allows(user, wanted):
            return
        missing = self._authorizer.covers(user, request.namespace, rules)
        if not missing:
            return
        shown = "\n".join(msgspec.json.encode(Rule.of(r).wire()).decode() for r in missing)
        raise Denied(
            f'{request.resource}.{_GROUP} "{request.name}" is forbidden: user "{user.username}" '
            f"(groups={list(user.groups)}) is attempting to grant RBAC permissions not currently held:\n{shown}",
            causes=(Cause(message="permissions not held"),),
        )

"""Roles and bindings.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import selectors, status
from kvtui.apiserver.strategy import Strategy
from kvtui.errors import Cause, InvalidSelector

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"


class Roles(Strategy):
    """Role and ClusterRole."""

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes: list[Cause] = []
        for index, rule in enumerate(obj.get("rules") or ()):
            field = f"rules[{index}]"
            if not isinstance(rule, dict) or not rule.get("verbs"):
                causes.append(status.required(f"{field}.verbs", "verbs must contain at least one value"))
                continue
            if rule.get("nonResourceURLs"):
                if obj["kind"] == "Role":
                    causes.append(
                        status.invalid_value(
                            f"{field}.nonResourceURLs",
                            rule["nonResourceURLs"],
                            "namespaced rules cannot apply to non-resource URLs",
                        )
                    )
                continue
            if not rule.get("apiGroups"):
                causes.append(
                    status.required(f"{field}.apiGroups", "resource rules must supply at least one api group")
                )
            if not rule.get("resources"):
                causes.append(status.required(f"{field}.resources", "resource rules must supply at least one resource"))
        return causes + _aggregation_causes(obj.get("aggregationRule"))


def _aggregation_causes(aggregation: Any) -> list[Cause]:
    if not isinstance(aggregation, dict):
        return []
    chosen = aggregation.get("clusterRoleSelectors") or []
    field = "aggregationRule.clusterRoleSelectors"
    if not chosen:
        return [status.required(field, "at least one clusterRoleSelector required if aggregationRule is non-nil")]
    causes = []
    for index, selector in enumerate(chosen):
        try:
            selectors.from_object(selector)
        except InvalidSelector as error:
            causes.append(status.invalid_value(f"{field}[{index}]", selector, str(error)))
    return causes


class Bindings(Strategy):
    """RoleBinding and ClusterRoleBinding."""

    def default(self, obj: Object) -> None:
        ref = obj.get("roleRef")
        if isinstance(ref, dict):
            ref.setdefault("apiGroup", GROUP)
        for subject in obj.get("subjects") or ():
            if isinstance(subject, dict) and subject.get("kind") in ("User", "Group"):
                subject.setdefault("apiGroup", GROUP)

    def validate(self, obj: Object, old: Object | None) -> list[Cause]:
        causes: list[Cause] = []
        ref = obj.get("roleRef")
        ref = ref if isinstance(ref, dict) else {}
        kinds = ("ClusterRole",) if obj["kind"] == "ClusterRoleBinding" else ("ClusterRole", "Role")
        if ref.get("kind") not in kinds:
            causes.append(status.not_supported("roleRef.kind", ref.get("kind", ""), kinds))
        if not ref.get("name"):
            causes.append(status.required("roleRef.name"))
        if old is not None and ref != old.get("roleRef"):
            causes.append(status.invalid_value("roleRef", ref, "cannot change roleRef"))
        for index, subject in enumerate(obj.get("subjects") or ()):
            field = f"subjects[{index}]"
            if not isinstance(subject, dict) or not subject.get("name"):
                causes.append(status.required(f"{field}.name"))
            elif subject.get("kind") not in ("ServiceAccount", "User", "Group"):
                causes.append(
                    status.not_supported(f"{field}.kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group"))
                )
            elif (
                subject["kind"] == "ServiceAccount"
                and not subject.get("namespace")
                and obj["kind"] == "ClusterRoleBinding"
            ):
                causes.append(status.required(f"{field}.namespace"))
        return causes

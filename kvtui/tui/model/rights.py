"""What the user may do, per namespace: asked once, and asked again after a refusal.

Source: https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/self-subject-rules-review-v1/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from kvtui.client.rest import Client
from kvtui.errors import KvtuiError

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource (with its subresource after a slash) of a group."""

    verb: str
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a review."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...] = ()

    def covers(self, right: Right) -> bool:
        kind, _, sub = right.resource.partition("/")
        wildcards = {"*", right.resource, f"*/{sub}" if sub else kind}
        return (
            ("*" in self.verbs or right.verb in self.verbs)
            and ("*" in self.groups or right.group in self.groups)
            and bool(wildcards & set(self.resources))
        )


class Rights:
    """Answers from what is known; what is not known counts as allowed, and the server then has the last word."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rules: dict[str, tuple[Rule, ...] | None] = {}

    def forget(self, namespace: str) -> None:
        self._rules.pop(namespace, None)

    def known(self, namespace: str) -> bool:
        return namespace in self._rules

    def allowed(self, right: Right, namespace: str) -> bool:
        rules = self._rules.get(namespace)
        return rules is None or any(rule.covers(right) for rule in rules)

    async def load(self, namespace: str) -> None:
        """Asks the server. A server that cannot tell leaves everything allowed."""
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace or "default"},
        }
        try:
            answer = await self._client.raw("POST", _PATH, body=msgspec.json.encode(body), timeout=10.0)
        except KvtuiError:
            self._rules[namespace] = None
            return
        self._rules[namespace] = parse_review(answer.json())


def parse_review(review: Any) -> tuple[Rule, ...] | None:
    """Rules of a review; None when it is incomplete."""
    status = review.get("status") if isinstance(review, dict) else None
    if not isinstance(status, dict) or status.get("incomplete"):
        return None
    return tuple(
        Rule(
            tuple(rule.get("verbs") or ()),
            tuple(rule.get("apiGroups") or ()),
            tuple(rule.get("resources") or ()),
            tuple(rule.get("resourceNames") or ()),
        )
        for rule in status.get("resourceRules") or ()
    )

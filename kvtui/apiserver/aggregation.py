"""Aggregated ClusterRoles: their rules are kept equal to those of the roles that they select.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver import bootstrap
from kvtui.apiserver.auth.rbac import aggregated
from kvtui.apiserver.backlog import Backlog
from kvtui.apiserver.objects import Objects
from kvtui.apiserver.store import Event

Object = dict[str, Any]
_BUCKET = "clusterroles.rbac.authorization.k8s.io"


class RoleAggregation:
    """Writes the rules of aggregated roles after each change of a role."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._backlog: Backlog[str] = Backlog("role aggregation")

    async def settle(self) -> None:
        """Brings all of them up to date now. Raises Failure."""
        while await self._pass():
            continue  # a role may be made of aggregated roles

    async def run(self) -> None:
        bucket = self._objects.store.bucket(_BUCKET)
        bucket.listeners.append(self._changed)
        self._backlog.add("all")
        try:
            await self._backlog.work(self._aggregate)
        finally:
            bucket.listeners.remove(self._changed)

    def _changed(self, event: Event) -> None:
        self._backlog.add("all")

    async def _aggregate(self, _key: str) -> None:
        await self._pass()

    async def _pass(self) -> bool:
        """Whether anything changed."""
        changed = False
        info = self._objects.resources.find("rbac.authorization.k8s.io", "v1", "clusterroles")
        assert info is not None
        roles = [r.decode() for r in self._objects.bucket(info).scan()]
        for role in roles:
            if not role.get("aggregationRule"):
                continue
            rules = aggregated(role, roles)
            if rules != (role.get("rules") or []):
                name = role["metadata"]["name"]
                await self._objects.update(info, "", name, _with_rules(rules), bootstrap.options())
                changed = True
        return changed


def _with_rules(rules: list[Object]) -> Any:
    def change(role: Object) -> Object:
        role["rules"] = rules
        return role

    return change

"""Authorization by roles: additive rules of Roles and ClusterRoles, given by bindings.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kvtui.api.admission import UserInfo
from kvtui.apiserver import selectors
from kvtui.apiserver.auth.nodes import NodeAuthorizer, node_of
from kvtui.apiserver.store import Event, Store
from kvtui.errors import InvalidSelector

Object = dict[str, Any]
MASTERS = "system:masters"
_CACHE = 20_000
_BUCKETS = {
    "roles": "roles.rbac.authorization.k8s.io",
    "rolebindings": "rolebindings.rbac.authorization.k8s.io",
    "clusterroles": "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings": "clusterrolebindings.rbac.authorization.k8s.io",
}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do. Either a resource or a path."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    labels: str = field(default="", compare=False)
    """Label selector of a list or watch; roles do not look at it."""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a role."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, wire: Object) -> Rule:
        def strings(key: str) -> list[str]:
            return [v for v in wire.get(key) or () if isinstance(v, str)]

        return cls(
            frozenset(strings("verbs")),
            frozenset(strings("apiGroups")),
            frozenset(strings("resources")),
            frozenset(strings("resourceNames")),
            tuple(strings("nonResourceURLs")),
        )

    def allows(self, wanted: Attributes) -> bool:
        if wanted.verb not in self.verbs and "*" not in self.verbs:
            return False
        if wanted.path:
            return any(wanted.path == p or (p.endswith("*") and wanted.path.startswith(p[:-1])) for p in self.paths)
        if not self.resources or (wanted.group not in self.groups and "*" not in self.groups):
            return False
        if not self._has_resource(wanted):
            return False
        return not self.names or (bool(wanted.name) and wanted.name in self.names)

    def _has_resource(self, wanted: Attributes) -> bool:
        resources = self.resources
        if "*" in resources or wanted.full_resource in resources:
            return True
        return bool(wanted.subresource) and f"*/{wanted.subresource}" in resources

    def wire(self) -> Object:
        """As SelfSubjectRulesReview shows it."""
        if self.paths:
            return {"verbs": sorted(self.verbs), "nonResourceURLs": list(self.paths)}
        shown: Object = {
            "verbs": sorted(self.verbs),
            "apiGroups": sorted(self.groups),
            "resources": sorted(self.resources),
        }
        if self.names:
            shown["resourceNames"] = sorted(self.names)
        return shown


@dataclass(frozen=True, slots=True)
class _Binding:
    name: str
    cluster_role: bool
    role: str
    users: frozenset[str]
    groups: frozenset[str]

    def has(self, user: UserInfo) -> bool:
        return user.username in self.users or not self.groups.isdisjoint(user.groups)


class Authorizer:
    """Decides from the stored RBAC objects, of which it keeps an index; agents also have what their node needs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cache: dict[tuple[object, ...], bool] = {}
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._bindings: dict[str, list[_Binding]] = {}
        self._stale = True
        self.nodes = NodeAuthorizer(store)
        for bucket in _BUCKETS.values():
            store.bucket(bucket).listeners.append(self._changed)

    def _changed(self, event: Event) -> None:
        self._stale = True

    def allows(self, user: UserInfo, wanted: Attributes) -> bool:
        if MASTERS in user.groups:
            return True
        if self._stale:
            self._rebuild()
        key = (user.username, user.groups, wanted)
        known = self._cache.get(key)
        if known is None:
            known = any(rule.allows(wanted) for rule in self.rules(user, wanted.namespace))
            if len(self._cache) >= _CACHE:
                self._cache.clear()
            self._cache[key] = known
        return known or self.nodes.allows(user, wanted)

    def denial(self, user: UserInfo, wanted: Attributes) -> str:
        """`User "u" cannot list resource "r" in API group "g" ...`."""
        why = self.nodes.why_not(user, wanted)
        return f"{_denial(user, wanted)}: {why}" if why else _denial(user, wanted)

    def is_complete(self, user: UserInfo) -> bool:
        """Whether `rules` are all rights of a user; those of agents cannot be listed."""
        return not node_of(user)

    def rules(self, user: UserInfo, namespace: str) -> Iterator[Rule]:
        """Every rule that holds for a user in a namespace ("" for cluster scope)."""
        if self._stale:
            self._rebuild()
        if MASTERS in user.groups:
            yield from _EVERYTHING
            return
        for binding in self._bindings.get("", ()):
            if binding.has(user):
                yield from self._roles.get(("", binding.role), ())
        if namespace:
            for binding in self._bindings.get(namespace, ()):
                if binding.has(user):
                    where = "" if binding.cluster_role else namespace
                    yield from self._roles.get((where, binding.role), ())

    def covers(self, user: UserInfo, namespace: str, rules: Iterable[Object]) -> list[Object]:
        """The rules that somebody does not have and thus may not give to others."""
        owned = list(self.rules(user, namespace))
        return [r for r in rules if not all(any(_subsumes(o, p) for o in owned) for p in _parts(Rule.of(r)))]

    def role_rules(self, namespace: str, role: str, *, cluster: bool) -> tuple[Rule, ...]:
        if self._stale:
            self._rebuild()
        return self._roles.get(("" if cluster else namespace, role), ())

    def _rebuild(self) -> None:
        self._cache.clear()
        self._roles = {}
        self._bindings = {}
        clusters = [r.decode() for r in self._store.bucket(_BUCKETS["clusterroles"]).scan()]
        for role in clusters:
            self._roles["", role["metadata"]["name"]] = _rules(role, clusters)
        for record in self._store.bucket(_BUCKETS["roles"]).scan():
            self._roles[record.namespace, record.name] = tuple(Rule.of(r) for r in record.decode().get("rules") or ())
        for plural in ("clusterrolebindings", "rolebindings"):
            for record in self._store.bucket(_BUCKETS[plural]).scan():
                binding = _binding(record.decode(), record.namespace)
                self._bindings.setdefault(record.namespace, []).append(binding)
        self._stale = False


_EVERYTHING = (
    Rule(frozenset("*"), frozenset("*"), frozenset("*")),
    Rule(frozenset("*"), paths=("*",)),
)


def _rules(role: Object, all_roles: list[Object]) -> tuple[Rule, ...]:
    aggregation = role.get("aggregationRule")
    if not isinstance(aggregation, dict):
        return tuple(Rule.of(r) for r in role.get("rules") or ())
    return tuple(Rule.of(r) for r in aggregated(role, all_roles))


def aggregated(role: Object, all_roles: Iterable[Object]) -> list[Object]:
    """The rules of an aggregated role: those of all roles that its selectors match; a broken one matches none."""
    chosen = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        with contextlib.suppress(InvalidSelector):
            chosen.append(selectors.from_object(selector))
    rules: list[Object] = []
    for other in all_roles:
        labels = other["metadata"].get("labels") or {}
        if other["metadata"]["name"] != role["metadata"]["name"] and any(s.matches(labels) for s in chosen):
            rules += [r for r in other.get("rules") or () if r not in rules]
    return rules


def _binding(obj: Object, namespace: str) -> _Binding:
    users: set[str] = set()
    groups: set[str] = set()
    for subject in obj.get("subjects") or ():
        match subject.get("kind"):
            case "User":
                users.add(subject["name"])
            case "Group":
                groups.add(subject["name"])
            case "ServiceAccount":
                users.add(f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}")
    ref = obj.get("roleRef") or {}
    return _Binding(
        obj["metadata"]["name"],
        ref.get("kind") == "ClusterRole",
        ref.get("name", ""),
        frozenset(users),
        frozenset(groups),
    )


def _parts(rule: Rule) -> Iterator[Rule]:
    """A rule as rules with one verb, group and resource each."""
    for verb in rule.verbs:
        one = frozenset((verb,))
        for path in rule.paths:
            yield Rule(one, paths=(path,))
        for group in rule.groups:
            for resource in rule.resources:
                for name in rule.names or ("",):
                    names = frozenset((name,)) if name else frozenset()
                    yield Rule(one, frozenset((group,)), frozenset((resource,)), names)


def _subsumes(owner: Rule, part: Rule) -> bool:
    def within(have: frozenset[str], want: frozenset[str]) -> bool:
        return "*" in have or want <= have

    if not within(owner.verbs, part.verbs):
        return False
    if part.paths:
        path = part.paths[0]
        return any(path == p or (p.endswith("*") and path.startswith(p[:-1])) for p in owner.paths)
    if not within(owner.groups, part.groups):
        return False
    resource = next(iter(part.resources))
    _, slash, subresource = resource.partition("/")
    if not within(owner.resources, part.resources) and not (slash and f"*/{subresource}" in owner.resources):
        return False
    return not owner.names or (bool(part.names) and part.names <= owner.names)


def _denial(user: UserInfo, wanted: Attributes) -> str:
    where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    return (
        f'User "{user.username}" cannot {wanted.verb} resource "{wanted.full_resource}" in API group '
        f'"{wanted.group}" {where}'
    )

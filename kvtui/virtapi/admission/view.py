"""What rules may look up in the cluster, and how an asynchronous reader serves synchronous, pure rules.

A rule asks a `ClusterView` and stays pure. `evaluate` runs it against the objects fetched so far; when it asks for
one that is missing, the object is read and the rule runs again from the start, which a pure function may.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from kvtui.api.kubevirt.config import KubeVirt, KubeVirtConfiguration
from kvtui.virtapi.admission.config import ClusterConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kvtui.api.meta import Resource

R = TypeVar("R", bound="Resource")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, for somebody."""

    user: str
    groups: tuple[str, ...]
    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""


class ClusterView(Protocol):
    """Lookups at one moment."""

    def find(self, type_: type[R], namespace: str, name: str) -> R | None: ...

    def all(self, type_: type[R], namespace: str) -> Sequence[R]:
        """All of a namespace; of every namespace when that is empty."""

    def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object of a kind without a class here."""

    def may(self, right: Right) -> bool:
        """Whether somebody has a right."""


class Reader(Protocol):
    """Where the objects come from: the server itself, informers, or a client."""

    async def find(self, type_: type[Any], namespace: str, name: str) -> Any | None: ...

    async def all(self, type_: type[Any], namespace: str) -> Sequence[Any]: ...

    async def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None: ...

    async def may(self, right: Right) -> bool: ...


@dataclass(frozen=True, slots=True)
class Lookup:
    """One question of a rule: a class with a name, a class without (all of them), or a kind by its words."""

    type: type[Any] | None
    namespace: str
    name: str | None = None
    api_version: str = ""
    kind: str = ""
    right: Right | None = None


class Unfetched(Exception):
    def __init__(self, lookup: Lookup) -> None:
        super().__init__(str(lookup))
        self.lookup = lookup


@dataclass(slots=True)
class FetchedView:
    """A view over what was read; raises Unfetched for the rest."""

    answers: dict[Lookup, Any] = field(default_factory=dict)

    def _answer(self, lookup: Lookup) -> Any:
        try:
            return self.answers[lookup]
        except KeyError:
            raise Unfetched(lookup) from None

    def find(self, type_: type[R], namespace: str, name: str) -> R | None:
        return cast("R | None", self._answer(Lookup(type_, namespace, name)))

    def all(self, type_: type[R], namespace: str) -> Sequence[R]:
        return cast("Sequence[R]", self._answer(Lookup(type_, namespace)))

    def find_other(self, api_version: str, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        return cast("Mapping[str, Any] | None", self._answer(Lookup(None, namespace, name, api_version, kind)))

    def may(self, right: Right) -> bool:
        return cast("bool", self._answer(Lookup(None, "", right=right)))


async def evaluate(rule: Callable[[ClusterView], T], reader: Reader) -> T:
    """The rule's result, reading what it asks for. Raises what the rule or the reader raises."""
    view = FetchedView()
    while True:
        try:
            return rule(view)
        except Unfetched as missing:
            ask = missing.lookup
        answer: Any
        if ask.right is not None:
            answer = await reader.may(ask.right)
        elif ask.type is None:
            answer = await reader.find_other(ask.api_version, ask.kind, ask.namespace, ask.name or "")
        elif ask.name is None:
            answer = await reader.all(ask.type, ask.namespace)
        else:
            answer = await reader.find(ask.type, ask.namespace, ask.name)
        view.answers[ask] = answer


def cluster_config(view: ClusterView) -> ClusterConfig:
    """The configuration in force; upstream's defaults without a KubeVirt resource."""
    resources = view.all(KubeVirt, "")
    if not resources:
        return ClusterConfig()
    newest = min(resources, key=lambda kv: (kv.metadata.creation_timestamp or "", kv.key))
    return ClusterConfig(newest.spec.configuration or KubeVirtConfiguration(), newest.metadata.namespace)

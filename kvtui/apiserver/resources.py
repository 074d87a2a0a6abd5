"""What the server serves: one `ResourceInfo` per group, version and plural, built-in or from a CRD."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from kvtui.apiserver.schema.node import UNTYPED, Node
from kvtui.apiserver.schema.structural import Schema
from kvtui.apiserver.strategy import Strategy

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)


class NameRule(Enum):
    """How `metadata.name` must look."""

    SUBDOMAIN = auto()
    LABEL = auto()
    LABEL_1035 = auto()
    PATH_SEGMENT = auto()


@dataclass(frozen=True, slots=True)
class Subresource:
    """An endpoint below an object; its objects may be of another kind."""

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    group: str = ""
    version: str = ""
    kind: str = ""
    """Empty: the kind of the parent."""


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale subresource finds its numbers, as key paths."""

    spec_replicas: tuple[str, ...]
    status_replicas: tuple[str, ...]
    label_selector: tuple[str, ...] = ()


class LazySchema:
    """A schema that is made when it is first needed: most of the served kinds are not used in a minute."""

    __slots__ = ("_compiled", "_document", "_make")

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._document: dict[str, Any] | None = None
        self._compiled: Schema | None = None

    @property
    def node(self) -> Node:
        """As patches walk it."""
        return self.get().node

    @property
    def document(self) -> dict[str, Any]:
        """The OpenAPI v3 schema."""
        if self._document is None:
            self._document = self._make()
        return self._document

    @property
    def ready(self) -> bool:
        """Whether `get` answers at once; otherwise it works for a tenth of a second on a large schema."""
        return self._compiled is not None

    def get(self) -> Schema:
        if self._compiled is None:
            self._compiled = Schema(self.document)
        return self._compiled


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of the Table form."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResourceInfo:
    """Everything the generic path must know about one resource in one version."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    list_kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    bucket: str
    """Under which name its objects are stored; shared by all versions."""
    stored_api_version: str
    status: bool = False
    """Status is written through its own subresource only."""
    status_on_create: bool = False
    """A new object may come with its status: a node describes itself."""
    scale: ScalePaths | None = None
    generation: bool = False
    """metadata.generation counts changes of the specification."""
    unconditional_update: bool = False
    """A PUT without resourceVersion overwrites whatever is there."""
    create_on_update: bool = False
    name_rule: NameRule = NameRule.SUBDOMAIN
    selectable: tuple[str, ...] = ()
    """selectableFields of a custom kind."""
    schema: LazySchema | None = None
    schema_generation: int = 0
    """Grows with each change of the schema; objects stored under another one are renewed when they are read."""
    columns: tuple[PrinterColumn, ...] = ()
    custom: bool = False
    terminating: bool = False
    """Its definition is being deleted: nothing new is taken."""
    strategy: Strategy = field(default_factory=Strategy)
    warning: str = ""
    """Sent with every answer, as for deprecated versions."""
    convert_out: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """Stored form -> the form of this version; None when only apiVersion differs."""
    convert_in: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def node(self) -> Node:
        """The schema as patches walk it."""
        return self.schema.node if self.schema is not None else UNTYPED

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.subresources if s.name == name), None)


@dataclass(slots=True)
class GroupVersion:
    """One served version of a group."""

    group: str
    version: str
    resources: dict[str, ResourceInfo] = field(default_factory=dict)


class Resources:
    """The registry; changes when CRDs come and go."""

    def __init__(self, builtin: Iterable[ResourceInfo]) -> None:
        self._builtin = tuple(builtin)
        self._custom: dict[str, tuple[ResourceInfo, ...]] = {}
        self._index: dict[tuple[str, str, str], ResourceInfo] = {}
        self.generation = 0
        """Grows with every change; discovery and schemas are cached by it."""
        self._rebuild()

    def find(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        return self._index.get((group, version, plural))

    def stored(self, bucket: str) -> ResourceInfo | None:
        """The resource whose version is the stored one."""
        return self._stored.get(bucket)

    def by_kind(self, api_version: str, kind: str) -> ResourceInfo | None:
        group, _, version = api_version.rpartition("/")
        return self._kinds.get((group, version, kind))

    def by_group_kind(self, group: str, kind: str) -> ResourceInfo | None:
        return next((i for i in self._index.values() if i.group == group and i.kind == kind), None)

    @property
    def all(self) -> list[ResourceInfo]:
        return list(self._index.values())

    def serve(self, crd: str, infos: tuple[ResourceInfo, ...]) -> None:
        """Serves a CRD's versions, in place of what it served before."""
        self._custom[crd] = infos
        self._rebuild()

    def withdraw(self, crd: str) -> None:
        if self._custom.pop(crd, None) is not None:
            self._rebuild()

    def custom(self, crd: str) -> tuple[ResourceInfo, ...]:
        return self._custom.get(crd, ())

    def groups(self) -> dict[str, list[GroupVersion]]:
        """Groups in the order of discovery (core, built-in, custom by name); versions by preference."""
        return self._groups

    def _rebuild(self) -> None:
        index: dict[tuple[str, str, str], ResourceInfo] = {}
        customs = [info for crd in sorted(self._custom) for info in self._custom[crd]]
        customs.sort(key=lambda i: i.group)
        for info in (*self._builtin, *customs):
            index.setdefault((info.group, info.version, info.plural), info)
        groups: dict[str, dict[str, GroupVersion]] = {}
        for info in index.values():
            versions = groups.setdefault(info.group, {})
            versions.setdefault(info.version, GroupVersion(info.group, info.version)).resources[info.plural] = info
        self._index = index
        self._kinds: dict[tuple[str, str, str], ResourceInfo] = {}
        self._stored: dict[str, ResourceInfo] = {}
        for info in index.values():
            self._kinds.setdefault((info.group, info.version, info.kind), info)
            if info.api_version == info.stored_api_version:
                self._stored[info.bucket] = info
        self._groups = {
            group: sorted(versions.values(), key=lambda gv: version_order(gv.version))
            for group, versions in groups.items()
        }
        self.generation += 1


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sort key: GA before beta before alpha, higher first; anything else after those, by name."""
    rest = version.removeprefix("v")
    if rest == version:
        return (3, 0, 0, version)
    for rank, stage in ((1, "beta"), (2, "alpha")):
        major, found, minor = rest.partition(stage)
        if found and major.isdigit() and minor.isdigit():
            return (rank, -int(major), -int(minor), "")
    return (0, -int(rest), 0, "") if rest.isdigit() else (3, 0, 0, version)

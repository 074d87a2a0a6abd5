"""An OpenAPI v3 schema compiled into nodes, which pruning, defaulting, merging and field ownership walk.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Openapi = dict[str, Any]

_MISSING: Any = object()


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One schema. Identity matters: a node is shared by every place where its dict stands, also inside itself."""

    type: str = ""
    """object, array, string, integer, number, boolean; empty where anything goes or an int-or-string stands."""
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    """Schema of the values of a map."""
    items: Node | None = None
    preserve: bool = False
    embedded: bool = False
    int_or_string: bool = False
    nullable: bool = False
    has_default: bool = False
    default: Any = None
    list_type: str = "atomic"
    """atomic, set or map, for server-side apply and list validation."""
    list_type_given: bool = False
    list_keys: tuple[str, ...] = ()
    map_atomic: bool = False
    patch_merge: bool = False
    """Strategic merge merges this list instead of replacing it."""
    patch_key: str = ""
    retain_keys: bool = False
    raw: Openapi = field(default_factory=dict)
    defaults_below: bool = False
    """Some node below has a default."""
    keyed_below: bool = False
    """This or some node below is a set or a keyed list."""
    cel_below: bool = False
    """This or some node below has CEL rules."""
    rules: Any = None
    """Value validation, prepared on first use (schema/values.py)."""
    cel_rules: Any = None
    """CEL rules, prepared on first use (schema/cel.py)."""
    accepts: Any = None
    """The quick check of a value, prepared on first use (schema/accepting.py)."""
    _defaulted: tuple[tuple[str, Node], ...] | None = None

    def child(self, key: str) -> Node | None:
        """The schema of a field or map value; None where the schema does not say."""
        return self.properties.get(key) or self.additional

    def defaulted(self) -> tuple[tuple[str, Node], ...]:
        """The fields that have defaults."""
        if self._defaulted is None:
            self._defaulted = tuple((name, child) for name, child in self.properties.items() if child.has_default)
        return self._defaulted

    @property
    def untyped(self) -> bool:
        """Nothing is known about the inside: an object without fields, or no type at all."""
        return not self.properties and self.additional is None and self.items is None


UNTYPED = Node(preserve=True)
"""Where there is no schema: maps merge, lists are atomic."""


def compile_schema(openapi: Openapi) -> Node:
    """Nodes of an inlined schema; the same dict in two places becomes the same node."""
    return _compile(openapi, {})


def _compile(openapi: Openapi, done: dict[int, Node]) -> Node:
    known = done.get(id(openapi))
    if known is not None:
        return known
    node = Node(raw=openapi)
    done[id(openapi)] = node
    node.type = openapi.get("type") or ""
    node.preserve = bool(openapi.get("x-kubernetes-preserve-unknown-fields"))
    node.embedded = bool(openapi.get("x-kubernetes-embedded-resource"))
    node.int_or_string = bool(openapi.get("x-kubernetes-int-or-string"))
    node.nullable = bool(openapi.get("nullable"))
    default = openapi.get("default", _MISSING)
    if default is not _MISSING:
        node.has_default, node.default = True, default
    node.properties = {name: _compile(child, done) for name, child in (openapi.get("properties") or {}).items()}
    additional = openapi.get("additionalProperties")
    if isinstance(additional, dict):
        node.additional = _compile(additional, done)
    elif additional is True:
        node.additional = UNTYPED
    items = openapi.get("items")
    if isinstance(items, dict):
        node.items = _compile(items, done)
    _merge_rules(node, openapi)
    children = [c for c in (*node.properties.values(), node.additional, node.items) if c is not None]
    node.defaults_below = any(child.has_default or child.defaults_below for child in children)
    node.keyed_below = node.list_type in ("set", "map") or any(child.keyed_below for child in children)
    node.cel_below = bool(openapi.get("x-kubernetes-validations")) or any(child.cel_below for child in children)
    return node


def _merge_rules(node: Node, openapi: Openapi) -> None:
    strategies = (openapi.get("x-kubernetes-patch-strategy") or "").split(",")
    node.patch_merge = "merge" in strategies
    node.retain_keys = "retainKeys" in strategies
    node.patch_key = openapi.get("x-kubernetes-patch-merge-key") or ""
    node.map_atomic = openapi.get("x-kubernetes-map-type") == "atomic"
    list_type = openapi.get("x-kubernetes-list-type")
    if list_type:
        node.list_type, node.list_type_given = list_type, True
        node.list_keys = tuple(openapi.get("x-kubernetes-list-map-keys") or ())
    elif node.patch_merge:
        node.list_type = "map" if node.patch_key else "set"
        node.list_keys = (node.patch_key,) if node.patch_key else ()

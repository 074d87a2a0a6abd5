"""Values under a schema: which paths they have, how two of them differ, how one merges into the other.

Lists are atomic, sets or keyed by fields of their items; maps are granular or atomic. Where the schema says nothing,
maps are granular and lists atomic.

Source: sigs.k8s.io/structured-merge-diff, https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kvtui.apiserver.patch.field_set import LEAF, SELF, FieldSet, is_member, show
from kvtui.apiserver.patch.json_patch import same
from kvtui.apiserver.schema.node import UNTYPED, Node
from kvtui.errors import Permanent


class NotTyped(Permanent):
    """The value does not fit its schema; the message names the path."""


def _inside(node: Node | None, key: str) -> Node:
    return (node.child(key) if node is not None else None) or UNTYPED


def _granular_list(node: Node) -> bool:
    return node.list_type in ("map", "set")


_encoder = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def item_step(item: Any, node: Node) -> str:
    """The step that identifies an item of a set or keyed list. Raises NotTyped if it has no identity."""
    if node.list_type == "set":
        return f"v:{_encoder.encode(item)}"
    if not isinstance(item, dict):
        raise NotTyped("associative list with keys may not have non-map elements")
    items = node.items or UNTYPED
    keys: dict[str, Any] = {}
    for key in node.list_keys:
        value = item.get(key)
        if value is None:
            child = items.properties.get(key)
            if child is not None and child.has_default:
                value = child.default
            else:
                continue
        keys[key] = value
    if not keys:
        missing = node.list_keys[0] if node.list_keys else ""
        raise NotTyped(f'associative list with keys has an element that omits key field "{missing}"')
    return f"k:{_encoder.encode(keys)}"


def to_set(value: dict[str, Any], node: Node) -> FieldSet:
    """Every path that the object has. Raises NotTyped."""
    return _map_set(value, node, "")


def _map_set(value: dict[str, Any], node: Node, path: str) -> FieldSet:
    fields: FieldSet = {}
    for key, child in value.items():
        inner = _inside(node, key)
        below = _value_set(child, inner, f"{path}.{key}")
        if below is None:
            fields[f"f:{key}"] = LEAF
            continue
        if child == {} or key not in node.properties:
            below = {SELF: LEAF, **below} if below else LEAF
        elif not below:
            continue  # an empty keyed list or set owns nothing
        fields[f"f:{key}"] = below
    return fields


def _value_set(value: Any, node: Node, path: str) -> FieldSet | None:
    """What is below a value, None for a leaf."""
    if isinstance(value, dict):
        return None if node.map_atomic else _map_set(value, node, path)
    if isinstance(value, list) and _granular_list(node):
        items = node.items or UNTYPED
        fields: FieldSet = {}
        for index, item in enumerate(value):
            try:
                step = item_step(item, node)
            except NotTyped as error:
                raise NotTyped(f"{path}: element {index}: {error}") from error
            below = _value_set(item, items, f"{path}[{index}]")
            fields[step] = {SELF: LEAF, **below} if below else LEAF
        return fields
    return None


@dataclass(slots=True)
class Comparison:
    """How two values differ, as sets of paths."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


_ABSENT: Any = object()
EMPTIED: Any = object()
"""In place of a map or list from which everything was removed while it was itself not; equal to null in comparisons."""


def compare(old: dict[str, Any], new: dict[str, Any], node: Node) -> Comparison:
    """What has to happen to `old` to become `new`. Items without identity make their list a leaf."""
    added, modified, removed = _compare(old, new, node) or ({}, {}, {})
    return Comparison(added or {}, modified or {}, removed or {})


Difference = tuple["FieldSet | None", "FieldSet | None", "FieldSet | None"]
"""Added, modified, removed below a path; None where there is nothing, LEAF where the path itself is meant."""


def _compare(old: Any, new: Any, node: Node) -> Difference | None:
    """None if both are equal."""
    if old is new:
        return None
    if old is _ABSENT:
        return _whole(new, node), None, None
    if new is _ABSENT:
        return None, None, _whole(old, node)
    if old == new and type(old) is type(new):
        return None
    pairs = _pairs(old, new, node)
    if pairs is None:
        one_sided = old is _ABSENT or new is _ABSENT
        if one_sided or (_is_leaf(old, node) and _is_leaf(new, node)):
            return _leaf(old, new)
        return _replaced(old, new, node)
    added: FieldSet = {}
    modified: FieldSet = {}
    removed: FieldSet = {}
    for step, before, after, inner in pairs:
        difference = _compare(before, after, inner)
        if difference is None:
            continue
        more, other, less = difference
        if more is not None:
            added[step] = _own(more) if before is _ABSENT else more
        if other is not None:
            modified[step] = other
        if less is not None:
            removed[step] = _own(less) if after is _ABSENT else less
    if not (added or modified or removed):
        return _leaf(old, new) if type(old) is not type(new) else None
    return added or None, modified or None, removed or None


def _whole(value: Any, node: Node) -> FieldSet:
    """Every path of a value that stands on one side only."""
    if isinstance(value, dict) and value and not node.map_atomic:
        return {f"f:{key}": _own(_whole(child, _inside(node, key))) for key, child in value.items()}
    if isinstance(value, list) and value and _granular_list(node):
        try:
            keyed = _keyed(value, node)
        except NotTyped:
            return LEAF
        items = node.items or UNTYPED
        return {step: _own(_whole(item, items)) for step, item in keyed.items()}
    return LEAF


def _own(below: FieldSet) -> FieldSet:
    return below if is_member(below) else {SELF: LEAF, **below}


def _is_leaf(value: Any, node: Node) -> bool:
    """Whether nothing inside the value is owned on its own."""
    if isinstance(value, dict):
        return not value or node.map_atomic
    return not (isinstance(value, list) and value and _granular_list(node))


def _replaced(old: Any, new: Any, node: Node) -> Difference:
    """One sort of value took the place of another: the path is modified, what is inside goes and comes."""
    gone = (_compare(old, _ABSENT, node) or (None, None, None))[2]
    come = (_compare(_ABSENT, new, node) or (None, None, None))[0]
    return come or None, LEAF, gone or None


def _leaf(old: Any, new: Any) -> Difference | None:
    if old is _ABSENT:
        return LEAF, None, None
    if new is _ABSENT:
        return None, None, LEAF
    return None if same(old, new) else (None, LEAF, None)


Pairs = list[tuple[str, Any, Any, Node]]


def _pairs(old: Any, new: Any, node: Node) -> Pairs | None:
    """Steps with the values on both sides; None for leaves."""
    sides = [side for side in (old, new) if side is not _ABSENT and side is not None and side is not EMPTIED]
    if not any(sides):  # scalars, and maps and lists that are empty on both sides
        return None
    if all(isinstance(side, dict) for side in sides) and not node.map_atomic:
        before: dict[str, Any] = old if isinstance(old, dict) else {}
        after: dict[str, Any] = new if isinstance(new, dict) else {}
        keys = [*before, *(key for key in after if key not in before)]
        return [(f"f:{k}", before.get(k, _ABSENT), after.get(k, _ABSENT), _inside(node, k)) for k in keys]
    if all(isinstance(side, list) for side in sides) and _granular_list(node):
        try:
            left, right = _keyed(old, node), _keyed(new, node)
        except NotTyped:
            return None
        items = node.items or UNTYPED
        steps = [*left, *(step for step in right if step not in left)]
        return [(s, left.get(s, _ABSENT), right.get(s, _ABSENT), items) for s in steps]
    return None


def _keyed(items: Any, node: Node) -> dict[str, Any]:
    return {item_step(item, node): item for item in items} if isinstance(items, list) else {}


def merge(live: Any, config: Any, node: Node) -> Any:
    """`config` laid over `live`: what it does not mention stays."""
    if isinstance(config, dict) and isinstance(live, dict) and not node.map_atomic:
        result = dict(live)
        for key, value in config.items():
            result[key] = merge(live[key], value, _inside(node, key)) if key in live else value
        return result
    if isinstance(config, list) and isinstance(live, list) and _granular_list(node):
        return _merge_list(live, config, node)
    return config


def _merge_list(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    """Items of `config` in its order; items that only `live` has keep their places between the shared ones."""
    items = node.items or UNTYPED
    left = [item_step(item, node) for item in live]
    right = [item_step(item, node) for item in config]
    mine = dict(zip(reversed(left), reversed(live), strict=True))
    theirs = dict(zip(right, config, strict=True))
    shared = [step for step in right if step in mine]
    merged: list[Any] = []
    done: set[str] = set()
    at_left = at_right = at_shared = 0

    def take(step: str) -> None:
        done.add(step)
        merged.append(merge(mine[step], theirs[step], items) if step in mine else theirs[step])

    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and at_right < len(right):
            step = left[at_left]
            if step == right[at_right]:
                take(step)
                at_left, at_right, at_shared = at_left + 1, at_right + 1, at_shared + 1
                continue
            if step in theirs and at_shared < len(shared) and shared[at_shared] != step:
                at_left += 1  # its turn comes later, in the order of the configuration
                continue
        if at_left < len(left):
            step = left[at_left]
            if step not in theirs:
                merged.append(live[at_left])
                at_left += 1
                continue
            if step in done:
                at_left += 1
        if at_right < len(right):
            step = right[at_right]
            take(step)
            at_right += 1
            if at_shared < len(shared) and shared[at_shared] == step:
                at_shared += 1
    return merged


def named_members(fields: FieldSet, node: Node) -> FieldSet:
    """The set with every declared field on the way to a path added."""
    result: FieldSet = {}
    for key, below in fields.items():
        if key == SELF or not below:
            result[key] = below
            continue
        if key[0] == "f":
            name = key[2:]
            inner = named_members(below, _inside(node, name))
            result[key] = _own(inner) if name in node.properties else inner
        else:
            result[key] = named_members(below, node.items or UNTYPED)
    return result


def remove(value: Any, fields: FieldSet, node: Node) -> Any:
    """The value without the paths of the set. EMPTIED stands for what has lost everything inside."""
    return _remove(value, fields, node) if value else value


def _remove(value: Any, fields: FieldSet, node: Node) -> Any:
    if isinstance(value, dict):
        if not value or node.map_atomic:
            return EMPTIED
        kept: dict[str, Any] = {}
        for key, child in value.items():
            below = fields.get(f"f:{key}")
            if below is None:
                kept[key] = child
            elif not is_member(below):
                kept[key] = _remove(child, below, _inside(node, key))
        return kept or EMPTIED
    if isinstance(value, list) and _granular_list(node):
        items: list[Any] = []
        for item in value:
            below = fields.get(item_step(item, node))
            if below is None:
                items.append(item)
            elif not is_member(below):
                items.append(_remove(item, below, node.items or UNTYPED))
        return items or EMPTIED
    return value


def without_emptied(value: Any) -> Any:
    """The value as it is stored: what lost everything inside is not there."""
    if isinstance(value, dict):
        return {k: without_emptied(v) for k, v in value.items() if v is not EMPTIED}
    if isinstance(value, list):
        return [without_emptied(v) for v in value if v is not EMPTIED]
    return {} if value is EMPTIED else value


def check(value: dict[str, Any], node: Node) -> list[str]:
    """What is wrong with an apply configuration: undeclared fields, wrong sorts of values, duplicate items."""
    problems: list[str] = []
    _check(value, node, "", problems)
    return problems


_HEAD = ("apiVersion", "kind", "metadata")


def _check(value: Any, node: Node, path: str, problems: list[str]) -> None:
    if value is None or (node.int_or_string and not node.type):
        return
    if node.type and not _fits(value, node.type):
        problems.append(f"{path or '.'}: expected {_EXPECTED.get(node.type, node.type)}, got {_got(value, node.type)}")
    elif isinstance(value, dict):
        for key, child in value.items():
            inner = node.child(key)
            if inner is not None:
                _check(child, inner, f"{path}.{key}", problems)
            elif not (node.preserve or node.type == "" or (not path and key in _HEAD)):
                problems.append(f"{path}.{key}: field not declared in schema")
    elif isinstance(value, list):
        _check_list(value, node, path, problems)


def _check_list(value: list[Any], node: Node, path: str, problems: list[str]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(value):
        if _granular_list(node):
            try:
                step = item_step(item, node)
            except NotTyped as error:
                problems.append(f"{path}: element {index}: {error}")
                continue
            if step in seen:
                problems.append(f"{path}: duplicate entries for key {show([step])}")
            seen.add(step)
        if node.items is not None:
            _check(item, node.items, f"{path}[{index}]", problems)


_EXPECTED = {
    "object": "map",
    "array": "list",
    "integer": "numeric (int or float)",
    "number": "numeric (int or float)",
}


def _fits(value: Any, type_: str) -> bool:
    match type_:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _got(value: Any, expected: str) -> str:
    """The misfit in the words of the conversion, which differ by what was expected."""
    if expected in ("object", "array"):
        return f"&{{{_go(value)}}}"
    if expected in ("integer", "number"):
        return _GO_TYPES.get(type(value), "unknown")
    return f"&value.valueUnstructured{{Value:{_go_syntax(value)}}}"


_GO_TYPES = {dict: "map[string]interface {}", list: "[]interface {}", str: "string", bool: "bool"}


def _go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_go(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(v) for v in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _go_syntax(value: Any) -> str:
    """A value as Go's %#v prints it."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(k)}:{_go_syntax(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_syntax(v) for v in value) + "}"
    if value is None:
        return "interface {}(nil)"
    return json.dumps(value)

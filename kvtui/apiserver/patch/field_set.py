"""Sets of field paths, in the shape in which managedFields carries them (FieldsV1).

A set is a nested dict. A key names a step: `f:<field>`, `k:<keys of a list item>`, `v:<member of a set>`, as JSON.
A path belongs to the set if its dict is empty or has the key "."; the empty dict at the top is the empty set.
Sets are never changed in place, so that they can share parts.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/, KEP 555.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

FieldSet = dict[str, Any]
Path = tuple[str, ...]

SELF = "."
LEAF: FieldSet = {}


def is_member(node: FieldSet) -> bool:
    """Whether the path of this (non-top) node belongs to the set."""
    return not node or SELF in node


def _node(*, member: bool, children: FieldSet) -> FieldSet | None:
    """A node in normal form, or None if nothing is left of it."""
    if not children:
        return LEAF if member else None
    return {SELF: LEAF, **children} if member else children


def _children(node: FieldSet) -> FieldSet:
    return {key: child for key, child in node.items() if key != SELF}


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    if not left:
        return right
    if not right:
        return left
    return _union_children(left, right)


def _union_children(left: FieldSet, right: FieldSet) -> FieldSet:
    result = dict(left)
    for key, child in right.items():
        present = result.get(key)
        if present is None:
            result[key] = child
        elif present is not child and present != child:
            member = is_member(present) or is_member(child)
            merged = _union_children(_children(present), _children(child))
            result[key] = {SELF: LEAF, **merged} if member and merged else merged
    return result


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of the first that are not in the second; paths below those of the second stay."""
    if not left or not right:
        return left
    result = left
    for key, other in right.items():
        mine = left.get(key)
        if mine is None or key == SELF:
            continue
        member = is_member(mine) and not is_member(other)
        children = difference(_children(mine), _children(other))
        remaining = _node(member=member, children=children)
        if result is left:
            result = dict(left)
        if remaining is None:
            del result[key]
        else:
            result[key] = remaining
    return result


def recursive_difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """Paths of the first that are neither in the second nor below a path of the second."""
    if not left or not right:
        return left
    result = dict(left)
    for key, other in right.items():
        mine = left.get(key)
        if mine is None or key == SELF:
            continue
        if is_member(other):
            del result[key]
            continue
        remaining = _node(member=is_member(mine), children=recursive_difference(_children(mine), other))
        if remaining is None:
            del result[key]
        else:
            result[key] = remaining
    return result


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    result: FieldSet = {}
    for key, other in right.items():
        mine = left.get(key)
        if mine is None or key == SELF:
            continue
        node = _node(
            member=is_member(mine) and is_member(other), children=intersection(_children(mine), _children(other))
        )
        if node is not None:
            result[key] = node
    return result


def without(fields: FieldSet, path: Path) -> FieldSet:
    """The set without this very path; what is below stays."""
    if not fields or path[0] not in fields:
        return fields
    single: FieldSet = LEAF
    for step in reversed(path):
        single = {step: single}
    return difference(fields, single)


def paths(fields: FieldSet) -> Iterator[Path]:
    """Every path of the set: at each level first the paths that end there, then those that go on."""
    steps = sorted(key for key in fields if key != SELF)
    for key in steps:
        if is_member(fields[key]):
            yield (key,)
    for key in steps:
        for rest in paths(_children(fields[key])):
            yield (key, *rest)


def show(path: Sequence[str]) -> str:
    """As conflicts name it: .spec.containers[name="web"].image."""
    text = ""
    for step in path:
        kind, value = step[0], step[2:]
        if kind == "f":
            text += f".{value}"
        elif kind == "k":
            keys = json.loads(value)
            text += "[" + ",".join(f"{key}={json.dumps(keys[key])}" for key in sorted(keys)) + "]"
        elif kind == "v":
            text += f"[={value}]"
        else:
            text += f"[{value}]"
    return text


def well_formed(fields: Any) -> bool:
    """Whether something that a client sent is such a set."""
    if not isinstance(fields, dict):
        return False
    for key, child in fields.items():
        if key == SELF:
            if child != {}:
                return False
            continue
        kind, value = key[:2], key[2:]
        if kind in ("k:", "v:"):
            try:
                parsed = json.loads(value)
            except ValueError:
                return False
            if kind == "k:" and not isinstance(parsed, dict):
                return False
        elif kind == "i:":
            if not value.lstrip("-").isdigit():
                return False
        elif kind != "f:":
            return False
        if not well_formed(child):
            return False
    return True

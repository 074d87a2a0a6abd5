"""Pruning, dropping nulls and defaulting of custom objects, in one walk.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#defaulting
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kvtui.apiserver.schema.node import Node

HEAD = ("apiVersion", "kind", "metadata")
_NOTHING = Node()


def tidy(value: dict[str, Any], node: Node) -> list[str]:
    """Drops what the schema does not know and nulls where none may stand, and fills in defaults, in place.

    Answers the paths of what was unknown.
    """
    dropped: list[str] = []
    _tidy_map(value, node, dropped, head=True)
    return sorted(dropped)


def prune(value: dict[str, Any], node: Node) -> list[str]:
    """Only drops what the schema does not know, in place; answers the paths."""
    dropped: list[str] = []
    _prune(value, node, "", dropped, head=True)
    return sorted(dropped)


def _prune(value: Any, node: Node, path: str, dropped: list[str], *, head: bool = False) -> None:
    if isinstance(value, dict):
        head = head or node.embedded
        for key in list(value):
            if head and key in HEAD:
                continue
            inner = node.properties.get(key) or node.additional
            if inner is not None:
                child = value[key]
                if isinstance(child, dict | list):
                    _prune(child, inner, f"{path}.{key}" if path else key, dropped)
            elif not node.preserve:
                dropped.append(f"{path}.{key}" if path else key)
                del value[key]
    elif isinstance(value, list) and (node.items is not None or not node.preserve):
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _prune(item, node.items or _NOTHING, f"{path}[{index}]", dropped)


def _tidy_map(value: dict[str, Any], node: Node, dropped: list[str], *, head: bool) -> None:
    properties, additional = node.properties, node.additional
    head = head or node.embedded
    for key in list(value):
        child = value[key]
        inner = properties.get(key) or additional
        if inner is None:
            if not (node.preserve or (head and key in HEAD)):
                dropped.append(key)
                del value[key]
        elif child is None:
            _settle_null(value, key, inner)
        elif head and key in HEAD:
            drop_nulls(child, inner)
            default(child, inner)
        elif type(child) is dict:
            before = len(dropped)
            _tidy_map(child, inner, dropped, head=False)
            if len(dropped) > before:
                dropped[before:] = [f"{key}.{path}" for path in dropped[before:]]
        elif type(child) is list:
            before = len(dropped)
            _tidy_list(child, inner, dropped)
            if len(dropped) > before:
                dropped[before:] = [f"{key}{path}" for path in dropped[before:]]
    if node.defaults_below:
        _fill(value, node)


def _tidy_list(value: list[Any], node: Node, dropped: list[str]) -> None:
    """Paths are told from the index on."""
    items = node.items
    if items is None:
        if node.preserve:
            return
        items = _NOTHING
    for index, item in enumerate(value):
        before = len(dropped)
        if type(item) is dict:
            _tidy_map(item, items, dropped, head=False)
            mark = "."
        elif type(item) is list:
            _tidy_list(item, items, dropped)
            mark = ""
        else:
            continue
        if len(dropped) > before:
            dropped[before:] = [f"[{index}]{mark}{path}" for path in dropped[before:]]


def _settle_null(value: dict[str, Any], key: str, inner: Node) -> None:
    if inner.nullable or (inner.untyped and not inner.type and not inner.int_or_string):
        return
    if inner.has_default:
        child = value[key] = deepcopy(inner.default)
        default(child, inner)
    else:
        del value[key]


def _fill(value: dict[str, Any], node: Node) -> None:
    """The defaults of missing fields; those inside of present fields were filled in on the way."""
    for key, inner in node.defaulted():
        if key not in value or (value[key] is None and not inner.nullable):
            child = value[key] = deepcopy(inner.default)
            default(child, inner)


def drop_nulls(value: Any, node: Node) -> None:
    """Only the nulls, in place."""
    if isinstance(value, dict):
        for key in list(value):
            inner = node.child(key)
            if inner is None:
                continue
            child = value[key]
            if child is None:
                _settle_null(value, key, inner)
            elif isinstance(child, dict | list):
                drop_nulls(child, inner)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            if isinstance(item, dict | list):
                drop_nulls(item, node.items)


def default(value: Any, node: Node) -> None:
    """Only the defaults, in place."""
    if not node.defaults_below:
        return
    if isinstance(value, dict):
        _fill(value, node)
        for key, child in value.items():
            inner = node.child(key)
            if inner is not None and inner.defaults_below and isinstance(child, dict | list):
                default(child, inner)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            default(item, node.items)

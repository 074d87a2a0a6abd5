"""Why a body is not of its kind, in the words of Go's JSON decoder, which every client of built-in kinds has met.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, encoding/json.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvtui.apiserver.schema.node import Node


def misfit(value: Any, node: Node, kind: str, api_version: str) -> str:
    """Why a body cannot be decoded into its kind, in the words of a Go decoder, or nothing. For built-in kinds."""
    found = misplaced(value, node)
    if not found:
        return ""
    path, sort, wanted = found
    detail = f"json: cannot unmarshal {sort} into Go struct field {kind}.{path} of type {wanted}"
    return f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: {detail}'


def misplaced(value: Any, node: Node) -> tuple[str, str, str] | None:
    """The first value of the wrong sort: its path, its sort, the wanted type."""
    return _misfit(value, node, "")


_ZEROS: dict[str, Callable[[], Any]] = {"object": dict, "string": str, "integer": int, "number": int, "boolean": bool}


def fill_nulls(value: Any, node: Node) -> None:
    """Replaces null elements of lists and maps by the zero of their type, which is what Go reads there."""
    if isinstance(value, dict):
        for key, child in value.items():
            inner = node.child(key)
            if inner is None:
                continue
            if child is not None:
                fill_nulls(child, inner)
            elif key not in node.properties and inner.type in _ZEROS:
                value[key] = _ZEROS[inner.type]()
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if item is not None:
                fill_nulls(item, node.items)
            elif node.items.type in _ZEROS:
                value[index] = _ZEROS[node.items.type]()


_GO_TYPES = {"string": "string", "boolean": "bool", "integer": "int64", "number": "float64"}


def _misfit(value: Any, node: Node, path: str) -> tuple[str, str, str] | None:
    if value is None or node.int_or_string:
        return None
    if node.type == "object" or node.properties:
        if not isinstance(value, dict):
            return path, _sort(value), "map[string]interface {}" if node.untyped or node.additional else "struct"
        for key, child in value.items():
            inner = node.child(key)
            where = path if node.additional is not None else f"{path}.{key}" if path else key
            found = _misfit(child, inner, where) if inner is not None else None
            if found:
                return found
        return None
    if node.type == "array":
        if not isinstance(value, list):
            return path, _sort(value), "[]interface {}"
        items = node.items
        return next((f for item in value if items is not None and (f := _misfit(item, items, path))), None)
    if node.type in _GO_TYPES and not _scalar_fits(value, node.type):
        wanted = node.raw.get("format") if node.raw.get("format") in ("int32", "int64") else _GO_TYPES[node.type]
        sort = _sort(value)
        if sort == "number" and node.type == "integer":
            sort = f"number {value}"
        return path, sort, str(wanted)
    return None


def _scalar_fits(value: Any, type_: str) -> bool:
    if type_ == "string":
        return isinstance(value, str)
    if type_ == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return type_ == "number" or isinstance(value, int)


def _sort(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"

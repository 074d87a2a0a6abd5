"""Decoding of request bodies with everything that strict field validation wants to know.

Python's JSON and YAML parsers drop duplicate keys in silence; here each one is reported with its path.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation, KEP 2885.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from kvtui.apiserver.schema.node import Node
from kvtui.errors import InvalidObject

MAX_DEPTH = 200
"""Levels of nesting of a body."""
MAX_ALIASED = 100_000
"""Values that YAML aliases may multiply a document to."""


_LONG_NUMBER = re.compile(r"\d{19}", re.ASCII)


@dataclass(slots=True)
class Decoded:
    """A value, and the paths of keys that appeared more than once."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


class _Pairs(list[tuple[str, Any]]):
    """An object before its keys are checked."""


def decode_json(text: bytes | str) -> Decoded:
    """Raises InvalidObject for something that is not JSON or is nested too deep."""
    try:
        value = msgspec.json.decode(text)
        if _nested_too_deep(text, value):
            raise InvalidObject("exceeded max depth")
        if _LONG_NUMBER.search(text if isinstance(text, str) else text.decode()):
            value = _bounded(value)
        return Decoded(value, _duplicates(text))
    except RecursionError as error:
        raise InvalidObject("exceeded max depth") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidObject(str(error)) from error


def _bounded(value: Any) -> Any:
    """With integers of more than 64 bits as floating point numbers, as Go reads them."""
    if isinstance(value, dict):
        return {k: _bounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_bounded(v) for v in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    return value


def _nested_too_deep(text: bytes | str, value: Any) -> bool:
    opened = text.count("{") + text.count("[") if isinstance(text, str) else text.count(b"{") + text.count(b"[")
    if opened <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _duplicates(text: bytes | str) -> list[str]:
    """Paths of keys that stand twice in their object. One quick pass finds out whether there are any."""
    found = False

    def count(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        if not found and len({key for key, _ in pairs}) != len(pairs):
            found = True

    json.loads(text, object_pairs_hook=count)
    if not found:
        return []
    duplicates: list[str] = []
    _collect(json.loads(text, object_pairs_hook=_Pairs), "", duplicates)
    return duplicates


def _collect(value: Any, path: str, duplicates: list[str]) -> None:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, child in value:
            where = f"{path}.{key}" if path else key
            if key in seen:
                duplicates.append(where)
            seen.add(key)
            _collect(child, where, duplicates)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, f"{path}[{index}]", duplicates)


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: JSON's types only, and no expansion without bound."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def decode_yaml(text: bytes | str) -> Decoded:
    """Raises InvalidObject for something that is not one YAML document of JSON's types."""
    loader = _Loader(text)
    decoded = Decoded(None)
    try:
        node = loader.get_single_node()
        if node is not None:
            decoded.value = _construct(loader, node, "", decoded.duplicates, [0], 0)
    except RecursionError as error:
        raise InvalidObject("exceeded max depth") from error
    except (yaml.YAMLError, ValueError, UnicodeDecodeError) as error:
        raise InvalidObject(f"error converting YAML to JSON: {error}") from error
    finally:
        loader.dispose()
    return decoded


def _construct(loader: _Loader, node: yaml.Node, path: str, duplicates: list[str], count: list[int], depth: int) -> Any:
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_ALIASED:
        raise InvalidObject("exceeded max depth" if depth > MAX_DEPTH else "document contains excessive aliasing")
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise InvalidObject("error converting YAML to JSON: map keys must be scalars")
            key = _key(loader.construct_object(key_node), key_node.value)
            where = f"{path}.{key}" if path else key
            if key in result:
                duplicates.append(where)
            result[key] = _construct(loader, value_node, where, duplicates, count, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, item, f"{path}[{index}]", duplicates, count, depth + 1)
            for index, item in enumerate(node.value)
        ]
    value = loader.construct_object(node)
    if isinstance(value, bytes):
        return node.value
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidObject("error converting YAML to JSON: unsupported number")
    return value


def _key(value: Any, text: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else text


def unknown_fields(value: Any, node: Node) -> list[str]:
    """Paths of fields that the schema does not declare; for kinds whose unknown fields are simply dropped."""
    found: list[str] = []
    _unknown(value, node, "", found)
    return found


def drop_unknown(value: Any, node: Node) -> list[str]:
    """Removes those fields, in place, and answers their paths."""
    found: list[str] = []
    _unknown(value, node, "", found, drop=True)
    return found


def _unknown(value: Any, node: Node, path: str, found: list[str], *, drop: bool = False) -> None:
    if isinstance(value, dict):
        if node.untyped and (node.preserve or node.type != "object"):
            return
        for key in list(value):
            where = f"{path}.{key}" if path else key
            inner = node.child(key)
            if inner is None:
                if not node.preserve:
                    found.append(where)
                    if drop:
                        del value[key]
            elif isinstance(value[key], dict | list):
                _unknown(value[key], inner, where, found, drop=drop)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _unknown(item, node.items, f"{path}[{index}]", found, drop=drop)


def misfit(value: Any, node: Node, kind: str, api_version: str) -> str:
    """Why a body cannot be decoded into its kind, in the words of a Go decoder, or nothing. For built-in kinds."""
    found = _misfit(value, node, "")
    if not found:
        return ""
    path, sort, wanted = found
    detail = f"json: cannot unmarshal {sort} into Go struct field {kind}.{path} of type {wanted}"
    return f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: {detail}'


_GO_TYPES = {"string": "string", "boolean": "bool", "integer": "int64", "number": "float64"}


def _misfit(value: Any, node: Node, path: str) -> tuple[str, str, str] | None:
    if value is None or node.int_or_string:
        return None
    if node.type == "object" or node.properties:
        if not isinstance(value, dict):
            return path, _sort(value), "map[string]interface {}" if node.untyped or node.additional else "struct"
        for key, child in value.items():
            inner = node.child(key)
            found = _misfit(child, inner, f"{path}.{key}" if path else key) if inner is not None else None
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


def problems(decoded: Decoded, unknown: list[str]) -> list[str]:
    """The findings in the words of a strict decoder: unknown fields first, then duplicates."""
    return [f'unknown field "{path}"' for path in unknown] + [f'duplicate field "{p}"' for p in decoded.duplicates]


def strict_error(findings: list[str]) -> str:
    """One message for all of them."""
    return "strict decoding error: " + ", ".join(findings)

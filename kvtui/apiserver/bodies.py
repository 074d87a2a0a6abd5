"""Request bodies: JSON, YAML and protobuf into plain objects, with duplicate keys found.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from typing import Any

import msgspec
import yaml

from kvtui.apiserver import status
from kvtui.apiserver.schema import protobuf

_decode = msgspec.json.Decoder().decode
_MAX_DEPTH = 100
YAML_EFFORT = 100
"""How much longer a byte of YAML takes than one of JSON."""
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"(\s*:)?')
PROTOBUF = "application/vnd.kubernetes.protobuf"


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower() or "application/json"


def decode(body: bytes, content_type: str) -> tuple[dict[str, Any], list[str]]:
    """The object of a body, and the paths of duplicate keys. Raises Failure 400, 415."""
    kind = media_type(content_type)
    if kind == "application/json":
        return decode_json(body)
    if kind in ("application/yaml", "application/x-yaml", "text/yaml"):
        return decode_yaml(body)
    if kind == PROTOBUF:
        return protobuf.decode(body, content_type), []
    raise status.unsupported_media_type()


def decode_json(body: bytes) -> tuple[dict[str, Any], list[str]]:
    """An object from JSON. Raises Failure 400."""
    value, duplicates = decode_json_value(body)
    if not isinstance(value, dict):
        raise status.bad_request("the request body is not a JSON object")
    return value, duplicates


def decode_json_value(body: bytes) -> tuple[Any, list[str]]:
    """Any JSON value, with its duplicate keys."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise status.bad_request(f"couldn't parse the request body as JSON: {error}") from error
    keys = _count_keys(value, 0)
    # Strings followed by a colon are keys: fewer keys than that were kept if some came twice.
    if keys != sum(1 for colon in _STRINGS.findall(body) if colon):
        return value, _find_duplicates(body)
    return value, []


def _count_keys(value: Any, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise status.bad_request(f"the request body is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        total = len(value)
        for item in value.values():
            if isinstance(item, dict | list):
                total += _count_keys(item, depth + 1)
        return total
    total = 0
    if isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                total += _count_keys(item, depth + 1)
    return total


class _Doubled(dict[str, Any]):
    doubles: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> _Doubled:
    result = _Doubled(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        doubles: list[str] = []
        for key, _ in pairs:
            if key in seen and key not in doubles:
                doubles.append(key)
            seen.add(key)
        result.doubles = tuple(doubles)
    return result


def _find_duplicates(body: bytes) -> list[str]:
    try:
        tree = json.loads(body, object_pairs_hook=_pairs)
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    _collect(tree, "", found)
    return found


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Doubled):
        found += [f"{path}.{key}" if path else key for key in value.doubles]
        for key, item in value.items():
            _collect(item, f"{path}.{key}" if path else key, found)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _collect(item, f"{path}[{index}]", found)


class _Loader(yaml.SafeLoader):
    """Safe YAML: no aliases (a small text must not grow into a large object), duplicates noted, times as strings."""

    doubles: list[str]
    lines: list[str]
    """The same as Go's reader of YAML says it."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _yaml_mapping(loader: _Loader, node: yaml.MappingNode, path: str) -> Any:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.YAMLError("a mapping key must be a scalar")
        name = "true" if key is True else "false" if key is False else "null" if key is None else str(key)
        where = f"{path}.{name}" if path else name
        if name in result:
            loader.doubles.append(where)
            loader.lines.append(f'line {key_node.start_mark.line + 1}: key "{name}" already set in map')
        result[name] = _yaml_value(loader, value_node, where)
    return result


def _yaml_value(loader: _Loader, node: yaml.Node, path: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _yaml_mapping(loader, node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_yaml_value(loader, item, f"{path}[{i}]") for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def decode_yaml(body: bytes) -> tuple[dict[str, Any], list[str]]:
    """An object from one YAML document. Raises Failure 400."""
    if body.lstrip()[:1] == b"{":
        try:
            return decode_json(body)
        except status.Failure:
            pass  # YAML in flow style may look like JSON
    value, loader = _load(body)
    return value, loader.doubles


def decode_configuration(body: bytes) -> tuple[dict[str, Any], list[str]]:
    """The object of an apply patch, and what Go's reader of YAML says of its duplicate keys. Raises Failure 400."""
    value, duplicates = decode_yaml(body)
    return value, _load(body)[1].lines if duplicates else []


def _load(body: bytes) -> tuple[dict[str, Any], _Loader]:
    try:
        loader = _Loader(body.decode())
        loader.doubles, loader.lines = [], []
        node = loader.get_single_node()
        value = _yaml_value(loader, node, "") if node is not None else None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise status.bad_request(f"error converting YAML to JSON: {error}") from error
    if not isinstance(value, dict):
        raise status.bad_request("the request body is not a YAML mapping")
    _count_keys(value, 0)
    return value, loader

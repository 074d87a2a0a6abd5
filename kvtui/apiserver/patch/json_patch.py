"""JSON patch: a list of operations, all or none of which take effect.

Source: RFC 6902 and RFC 6901; limits as kube-apiserver has them.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import msgspec

from kvtui.apiserver.patch.errors import REFUSED, PatchError

MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024
"""Bytes that `copy` operations may add together."""

_INDEX = re.compile(r"^(0|[1-9][0-9]{0,9})$", re.ASCII)
_OPERATIONS = {"add", "remove", "replace", "move", "copy", "test"}


def apply(target: dict[str, Any], operations: Any) -> Any:
    """The patched object; the target is not changed.

    Raises PatchError: 400 for something that is not a list of operations, 413 for too many of them,
    422 if one cannot be carried out.
    """
    if not isinstance(operations, list) or not all(isinstance(op, dict) for op in operations):
        raise PatchError(400, "error decoding patch: a JSON patch must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(
            413,
            f"Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, "
            f"got {len(operations)}",
        )
    document: Any = deepcopy(target)
    copied = 0
    for operation in operations:
        name, path = operation.get("op"), operation.get("path")
        if name not in _OPERATIONS or not isinstance(path, str):
            raise PatchError(422, REFUSED)
        tokens = _tokens(path)
        match name:
            case "add" | "replace" | "test":
                if "value" not in operation and name != "test":
                    raise PatchError(422, REFUSED)
                value = operation.get("value")
                if name == "add":
                    document = _add(document, tokens, deepcopy(value))
                elif name == "replace":
                    document = _replace(document, tokens, deepcopy(value))
                elif not same(_get(document, tokens, absent_is_null=value is None), value):
                    raise PatchError(422, REFUSED)
            case "remove":
                document = _remove(document, tokens)
            case _:
                source = _source(operation)
                value = _get(document, source)
                if name == "copy":
                    encoded = msgspec.json.encode(value)
                    copied += len(encoded)
                    if copied > MAX_COPIED:
                        raise PatchError(422, REFUSED)
                    value = msgspec.json.decode(encoded)  # much faster than a deep copy
                else:
                    if tokens[: len(source)] == source and len(tokens) > len(source):
                        raise PatchError(422, REFUSED)
                    document = _remove(document, source)
                document = _add(document, tokens, value)
    return document


def _source(operation: dict[str, Any]) -> list[str]:
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchError(422, REFUSED)
    return _tokens(source)


def _tokens(path: str) -> list[str]:
    if path == "":
        return []
    if not path.startswith("/"):
        raise PatchError(422, REFUSED)
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _index(token: str, limit: int) -> int:
    """The position that a token names in a list; at most `limit`."""
    if not _INDEX.match(token) or int(token) > limit:
        raise PatchError(422, REFUSED)
    return int(token)


def _get(document: Any, tokens: list[str], *, absent_is_null: bool = False) -> Any:
    current = document
    for position, token in enumerate(tokens):
        if isinstance(current, dict):
            if token not in current:
                if absent_is_null and position == len(tokens) - 1:
                    return None
                raise PatchError(422, REFUSED)
            current = current[token]
        elif isinstance(current, list):
            current = current[_index(token, len(current) - 1)]
        else:
            raise PatchError(422, REFUSED)
    return current


def _add(document: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    else:
        raise PatchError(422, REFUSED)
    return document


def _replace(document: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, dict) and last in parent:
        parent[last] = value
    elif isinstance(parent, list):
        parent[_index(last, len(parent) - 1)] = value
    else:
        raise PatchError(422, REFUSED)
    return document


def _remove(document: Any, tokens: list[str]) -> Any:
    if not tokens:
        return None
    parent, last = _get(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, dict) and last in parent:
        del parent[last]
    elif isinstance(parent, list):
        del parent[_index(last, len(parent) - 1)]
    else:
        raise PatchError(422, REFUSED)
    return document


def same(left: Any, right: Any) -> bool:
    """JSON equality: 1 and 1.0 are the same number, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)

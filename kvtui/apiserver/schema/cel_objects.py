"""Expressions that build objects: `Object.spec{replicas: 3}` and `JSONPatch{op: "remove", path: "/x"}`.

The library builds messages of protobuf types only, so such constructions are read as maps: the type's name goes, and
the names of fields become keys.

Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/#patch-type-apply-configuration,
https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from kvtui.api.times import to_time
from kvtui.apiserver.schema.cel import escaped
from kvtui.apiserver.schema.node import Node

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<text>[rRbB]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]+`)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ROOTS = ("Object", "JSONPatch")
_ESCAPES = (("__dot__", "."), ("__dash__", "-"), ("__slash__", "/"), ("__underscores__", "__"))
_WORD = re.compile(r"__([a-z]+)__")
_FIELD_AFTER = ("{", ",", "{?", ",?")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def as_maps(text: str) -> str:
    """The expression with its constructions of objects written as maps."""
    tokens = [(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]
    made: list[str] = []
    opened: list[bool] = []
    """Brackets that are open, and whether each is an object's."""
    position, before = 0, ""
    while position < len(tokens):
        sort, word = tokens[position]
        if sort == "name" and word in _ROOTS and before != "." and (end := _object_at(tokens, position)):
            made.append("{")
            opened.append(True)
            position, before = end, "{"
            continue
        if sort == "name" and opened and opened[-1] and before in _FIELD_AFTER and _next(tokens, position) == ":":
            made.append(f'"{_plain_name(word)}"')
        else:
            made.append(word)
        if sort == "other" and word in _CLOSING:
            opened.append(False)
        elif sort == "other" and word in _CLOSING.values() and opened:
            opened.pop()
        if sort != "space":
            # `{?a: b}` has an optional field; the question mark of `x ? a : b` comes after a value.
            before = before + word if word == "?" and before in ("{", ",") else word
        position += 1
    return "".join(made)


def _object_at(tokens: list[tuple[str, str]], position: int) -> int:
    """Where the content of a construction begins whose type's name is here; 0 if it is something else."""
    position += 1
    while position < len(tokens):
        sort, word = tokens[position]
        if word == "{":
            return position + 1
        if sort not in ("space", "name") and word != ".":
            return 0
        position += 1
    return 0


def _next(tokens: list[tuple[str, str]], position: int) -> str:
    return next((word for sort, word in tokens[position + 1 :] if sort != "space"), "")


def _plain_name(word: str) -> str:
    """A field's own name: `my__dash__field` is my-field, `__namespace__` is namespace."""
    if word.startswith("`"):
        return word.strip("`")
    if (found := _WORD.fullmatch(word)) and escaped(found[1]) == word:
        return found[1]
    for escape, plain in _ESCAPES:
        word = word.replace(escape, plain)
    return word


def from_cel(value: Any, node: Node | None) -> Any:
    """A plain value as objects hold it: fields by their own names, times as text."""
    if isinstance(value, dict):
        own = {escaped(name): name for name in node.properties} if node is not None else {}
        named = {own.get(str(key), str(key)): inner for key, inner in value.items()}
        return {name: from_cel(inner, node.child(name) if node is not None else None) for name, inner in named.items()}
    if isinstance(value, list):
        return [from_cel(item, node.items if node is not None else None) for item in value]
    if isinstance(value, datetime):
        return to_time(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, float) and value.is_integer() and (node is None or node.type != "number"):
        return int(value)
    return value

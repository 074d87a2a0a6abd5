"""The part of JSONPath that printer columns use: fields, indexes, wildcards and filters.

Source: https://kubernetes.io/docs/reference/kubectl/jsonpath/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterable[Any]]

_TOKEN = re.compile(
    r"\.(?P<name>(?:\\.|[^.\[\]\\])+)"
    r"|\[(?P<index>-?\d+)\]"
    r"|(?P<all>\[\*\]|\.\*)"
    r"|\['(?P<quoted>(?:\\.|[^'\\])*)'\]"
    r"|\[\?\(\s*@(?P<path>[^=!<>\s)]*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>\"[^\"]*\"|'[^']*'|[^)\s]+))?\s*\)\]"
)


def first(obj: Any, path: str) -> Any:
    """The first value at a path such as .status.conditions[?(@.type=="Ready")].status, or None."""
    return next(iter(find(obj, path)), None)


def find(obj: Any, path: str) -> list[Any]:
    """Every value at the path; nothing for a path that makes no sense."""
    values = [obj]
    for step in _steps(path):
        values = [found for value in values for found in step(value)]
    return values


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[Step, ...]:
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return (lambda _value: (),)
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["all"]:
        return _children
    if match["index"] is not None:
        return _item(int(match["index"]))
    if match["path"] is not None:
        return _filter(match["path"], match["op"], match["value"])
    return _field(re.sub(r"\\(.)", r"\1", match["name"] if match["name"] is not None else match["quoted"]))


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _item(index: int) -> Step:
    def step(value: Any) -> Iterable[Any]:
        inside = isinstance(value, list) and -len(value) <= index < len(value)
        return (value[index],) if inside else ()

    return step


def _field(name: str) -> Step:
    def step(value: Any) -> Iterable[Any]:
        return (value[name],) if isinstance(value, dict) and name in value else ()

    return step


def _filter(path: str, operator: str | None, literal: str | None) -> Step:
    wanted = _literal(literal or "")

    def step(value: Any) -> Iterable[Any]:
        return [item for item in _children(value) if _holds(item)]

    def _holds(item: Any) -> bool:
        found = find(item, path)
        if operator is None or not found:
            return bool(found)
        try:
            return _COMPARE[operator](found[0], wanted)
        except TypeError:
            return False

    return step


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _literal(text: str) -> Any:
    if text[:1] in ("'", '"'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text

"""Whether a value is valid, as fast as possible: what is refused here is looked at again for the reasons.

Each schema becomes a function of its value when it is first needed. Nearly every object that is written is valid, and
then no path and no message is ever put together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvtui.apiserver.schema import values
from kvtui.apiserver.schema.node import Node

Accepts = Callable[[Any], bool]
_SCALARS = (str, bool, int, float)


def accepts(value: Any, node: Node) -> bool:
    """True only if nothing is wrong with the value; False where that takes a closer look."""
    return of(node)(value)


def of(node: Node) -> Accepts:
    known: Accepts | None = node.accepts
    if known is None:
        known = _compile(node)
        node.accepts = known = _or_null(known) if node.nullable else known
    return known


def _or_null(accepted: Accepts) -> Accepts:
    return lambda value: value is None or accepted(value)


def _compile(node: Node) -> Accepts:
    rules = values.rules_of(node)
    if rules.all_of or rules.any_of or rules.one_of or rules.not_ is not None:
        return lambda value: not values.validate(value, node, "") and not node.keyed_below
    if rules.enum is not None:
        return lambda value: not values.validate(value, node, "")
    match "" if node.int_or_string else node.type:
        case "object":
            return _map(node, rules)
        case "array":
            return _list(node, rules)
        case "string":
            return _scalar(str, node, rules)
        case "boolean":
            return _scalar(bool, node, rules)
        case "integer":
            return _scalar(int, node, rules)
    return lambda value: not values.validate(value, node, "") and not node.keyed_below


def _scalar(type_: type, node: Node, rules: values.Rules) -> Accepts:
    checks = tuple(check for group in rules.scalar for check in group)
    if not checks:
        return lambda value: type(value) is type_

    def check_all(value: Any) -> bool:
        if type(value) is not type_:
            return False
        return all(check(value, "") is None for check in checks)

    return check_all


def _map(node: Node, rules: values.Rules) -> Accepts:
    properties, additional, required, sized = node.properties, node.additional, rules.required, rules.sized
    prepared: dict[str, Accepts] = {}

    def prepare(key: str) -> Accepts:
        found = prepared[key] = of(properties[key])
        return found

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return False
        for name in required:
            if name not in value:
                return False
        for key, child in value.items():
            accepted = prepared.get(key)
            if accepted is None:
                # Only declared fields are remembered: the keys of maps are without end.
                accepted = prepare(key) if key in properties else None
                if accepted is None:
                    if additional is None:
                        continue
                    accepted = of(additional)
            if not accepted(child):
                return False
        return all(limit(value, "") is None for limit in sized)

    return check


def _list(node: Node, rules: values.Rules) -> Accepts:
    items, sized, list_type, keys = node.items, rules.sized, node.list_type, node.list_keys

    def check(value: Any) -> bool:
        if type(value) is not list:
            return False
        if items is not None:
            accepted = of(items)
            for item in value:
                if not accepted(item):
                    return False
        if len(value) > 1 and list_type != "atomic" and not _distinct(value, list_type, keys):
            return False
        return all(limit(value, "") is None for limit in sized)

    return check


def _distinct(value: list[Any], list_type: str, keys: tuple[str, ...]) -> bool:
    """Whether the identities of all items are texts and numbers, and different."""
    seen: set[Any] = set()
    for item in value:
        parts = tuple(item.get(key) for key in keys) if list_type == "map" and type(item) is dict else (item,)
        for part in parts:
            if part is not None and type(part) not in _SCALARS:
                return False
        seen.add(parts)
    return len(seen) == len(value)

"""The schema pipeline of custom objects: prune, default, validate.

On write: prune, default, then validate values, lists and CEL rules; on read: default and prune.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/, KEP 4008.
"""

from __future__ import annotations

from typing import Any

from kvtui.apiserver.patch.json_patch import same
from kvtui.apiserver.patch.typed import NotTyped, item_step
from kvtui.apiserver.schema import cel, values
from kvtui.apiserver.schema.accepting import accepts
from kvtui.apiserver.schema.node import Node, Openapi, compile_schema
from kvtui.apiserver.schema.tidy import default, drop_nulls, prune, tidy
from kvtui.apiserver.status import show
from kvtui.errors import Cause

Object = dict[str, Any]
Causes = list[Cause]

_BLOCKING = frozenset({"FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"})
_UNCHECKED = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class Schema:
    """The schema of one version of a custom kind."""

    def __init__(self, openapi: Openapi) -> None:
        self.openapi = openapi
        self.node: Node = compile_schema(openapi)
        """For patches and field ownership."""

    def prune(self, obj: Object) -> list[str]:
        """Drops what the schema does not know, in place; answers the paths of what was dropped."""
        return prune(obj, self.node)

    def tidy(self, obj: Object) -> list[str]:
        """Prunes, drops nulls where none may stand and fills in defaults, in place; answers what was unknown."""
        return tidy(obj, self.node) if self.node.type == "object" else prune(obj, self.node)

    def default(self, obj: Object) -> None:
        """Drops nulls where none may stand and fills in defaults, in place."""
        if self.node.type == "object":
            drop_nulls(obj, self.node)
            default(obj, self.node)

    def validate(self, obj: Object, old: Object | None = None) -> Causes:
        """Everything that is wrong. With `old`, errors in parts that did not change are let pass."""
        if accepts(obj, self.node):
            return cel.evaluate(obj, old, self.node) if self.node.cel_below else []
        causes = values.validate(obj, self.node, "")
        _check_lists(obj, self.node, "", causes)
        causes = list(dict.fromkeys(causes))
        if old is not None and causes:
            causes = [cause for cause in causes if not _unchanged(cause, obj, old, self.node)]
        if not self.node.cel_below:
            return causes
        if any(cause.reason in _BLOCKING for cause in causes):
            return [*causes, Cause("FieldValueInvalid", _UNCHECKED, "<nil>")]
        return causes + cel.evaluate(obj, old, self.node)


_NOTHING = Node()


def _check_lists(value: Any, node: Node, path: str, causes: Causes) -> None:
    """Sets and keyed lists have no item twice."""
    if not node.keyed_below:
        return
    if isinstance(value, dict):
        for key, child in value.items():
            inner = node.properties.get(key) or node.additional
            if inner is not None and isinstance(child, dict | list):
                _check_lists(child, inner, f"{path}.{key}" if path else key, causes)
    elif isinstance(value, list):
        if node.list_type in ("set", "map"):
            causes += _duplicates(value, node, path)
        if node.items is not None:
            for index, item in enumerate(value):
                if isinstance(item, dict | list):
                    _check_lists(item, node.items, f"{path}[{index}]", causes)


def _duplicates(items: list[Any], node: Node, path: str) -> Causes:
    seen: dict[str, int] = {}
    causes: Causes = []
    for index, item in enumerate(items):
        if node.list_type == "map":
            keys = {k: item[k] for k in node.list_keys if k in item} if isinstance(item, dict) else {}
        else:
            keys = item
        text = show(keys) if not isinstance(keys, dict) else _sorted(keys)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:
            causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {text}", f"{path}[{index}]"))
    return causes


def _sorted(keys: Object) -> str:
    return show(dict(sorted(keys.items())))


def _unchanged(cause: Cause, obj: Object, old: Object, node: Node) -> bool:
    """Whether what the cause complains about was there before: then the update is not to blame."""
    path = cause.field
    if path == "<nil>":
        path = cause.message.rpartition(" in ")[2] if " in " in cause.message else _quoted(cause.message)
    now, before = _correlated(obj, old, node, path, cause)
    return now is not _ABSENT and before is not _ABSENT and same(now, before)


_ABSENT: Any = object()


def _quoted(message: str) -> str:
    parts = message.split('"')
    return parts[3] if len(parts) > 3 else ""


def _correlated(obj: Any, old: Any, node: Node, path: str, cause: Cause) -> tuple[Any, Any]:
    """The values at a path on both sides; items of keyed lists correspond by key, of other lists not at all."""
    steps = _steps(path)
    if (cause.reason == "FieldValueRequired" and steps) or (
        cause.reason == "FieldValueDuplicate" and steps and isinstance(steps[-1], int)
    ):
        steps = steps[:-1]
    for step in steps:
        if isinstance(step, int):
            if not isinstance(obj, list) or not isinstance(old, list) or step >= len(obj):
                return _ABSENT, _ABSENT
            before = _counterpart(obj[step], old, node)
            if before is _ABSENT:
                # The whole list unchanged would have been found at its own path.
                return (obj, old) if same(obj, old) else (_ABSENT, _ABSENT)
            obj, old, node = obj[step], before, node.items or _NOTHING
        else:
            if not isinstance(obj, dict) or not isinstance(old, dict) or step not in obj or step not in old:
                return _ABSENT, _ABSENT
            obj, old, node = obj[step], old[step], node.child(step) or _NOTHING
    return obj, old


def _counterpart(item: Any, old: list[Any], node: Node) -> Any:
    if node.list_type != "map":
        return _ABSENT
    try:
        wanted = item_step(item, node)
        return next((other for other in old if item_step(other, node) == wanted), _ABSENT)
    except NotTyped:
        return _ABSENT


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in path.split(".") if path else []:
        name, *indexes = part.split("[")
        if name:
            steps.append(name)
        for index in indexes:
            number = index.rstrip("]")
            steps.append(int(number) if number.isdigit() else number)
    return steps

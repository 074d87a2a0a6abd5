"""The webhooks' own look at an object before any rule: shape, demanded and unknown fields, listed values.

Findings answer alone, as causes without field and reason; positions in lists are not named.
Source: control plane admission 5.1 (order), k8s.io/kube-openapi/pkg/validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kvtui.errors import Cause
from kvtui.virtapi.admission.causes import refuse
from kvtui.virtapi.admission.shape import Shape, Sort, shape_of
from kvtui.virtapi.admission.text import go_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kvtui.api.meta import Resource

_FREE = ("status",)
"""Written by controllers, which leave out demanded members that are empty."""


def recheck(data: dict[str, Any], type_: type[Resource], *, left_out: tuple[str, ...] = ()) -> None:
    """Raises Denied with every misfit of the object. Members that were looked at before may be left out of it."""
    refuse(Cause(message=message) for message in _object(data, shape_of(type_), "", left_out))


def _sort_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _fits(value: Any, sort: Sort) -> bool:
    match sort:
        case Sort.OBJECT | Sort.MAP:
            return isinstance(value, dict)
        case Sort.ARRAY:
            return isinstance(value, list)
        case Sort.STRING:
            return isinstance(value, str)
        case Sort.BOOLEAN:
            return isinstance(value, bool)
        case Sort.INTEGER:
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            )
        case Sort.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Sort.QUANTITY | Sort.INT_OR_STRING:
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case Sort.ANY:
            return True


def _value(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if value is None:
        return  # null and absent are the same
    if not _fits(value, shape.sort):
        wanted = {Sort.MAP: "object", Sort.QUANTITY: "string", Sort.INT_OR_STRING: "string"}.get(
            shape.sort, shape.sort.value
        )
        yield f'{path} in body must be of type {wanted}: "{_sort_of(value)}"'
        return
    if shape.values and value not in shape.values:
        yield f"{path} in body should be one of {go_list(sorted(shape.values))}"
    match shape.sort:
        case Sort.OBJECT:
            yield from _object(value, shape, path)
        case Sort.MAP if shape.item is not None:
            for key, item in value.items():
                yield from _value(item, shape.item, f"{path}.{key}")
        case Sort.ARRAY if shape.item is not None:
            for item in value:
                yield from _value(item, shape.item, path)
        case _:
            return


def _object(data: dict[str, Any], shape: Shape, path: str, left_out: tuple[str, ...] = ()) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required:
        if data.get(name) is None and name not in left_out:
            yield f"{prefix}{name} in body is required"
    for name, value in data.items():
        known = shape.fields.get(name)
        if known is None:
            yield f"{prefix}{name} in body is a forbidden property"
        elif path or name not in _FREE:
            yield from _value(value, known[1], prefix + name)

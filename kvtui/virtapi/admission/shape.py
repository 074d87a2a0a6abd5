"""The shape of our wire types, read once per class: names, kinds of values, which are demanded, which are listed.

Source: the marks of `kvtui.api.wire`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec.inspect as inspect

if TYPE_CHECKING:
    import msgspec


class Sort(Enum):
    """JSON's sorts of values, as schemas name them."""

    OBJECT = "object"
    MAP = "map"
    ARRAY = "array"
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    QUANTITY = "quantity"
    INT_OR_STRING = "int-or-string"
    ANY = "any"


@dataclass(slots=True)
class Shape:
    """One node of the tree; `fields` is filled for objects, `item` for maps and arrays."""

    sort: Sort
    type: type[Any] | None = None
    item: Shape | None = None
    required: list[str] = field(default_factory=list)
    fields: dict[str, tuple[str, Shape]] = field(default_factory=dict)
    """Wire name to attribute name and shape."""
    values: list[str] = field(default_factory=list)
    """Listed in KubeVirt's own documents; what only the CRDs list is left to the API server."""
    format: str = ""


@cache
def shape_of(type_: type[msgspec.Struct]) -> Shape:
    """The shape of a class; classes that contain themselves share one node."""
    shape = Shape(Sort.OBJECT, type_)
    _fill(shape, type_, {type_: shape})
    return shape


def _fill(shape: Shape, type_: type[Any], known: dict[type[Any], Shape]) -> None:
    info = inspect.type_info(type_)
    if not isinstance(info, inspect.StructType):
        raise TypeError(type_)
    for entry in info.fields:
        marks = list(_marks(entry.type))
        if any(mark.get("required") for mark in marks):
            shape.required.append(entry.encode_name)
        child = _convert(entry.type, known)
        values = [value for mark in marks for value in mark.get("values") or ()]
        formats = [str(mark["schema"]["format"]) for mark in marks if (mark.get("schema") or {}).get("format")]
        if values or formats:
            child = Shape(child.sort, child.type, child.item, child.required, child.fields)
            child.values, child.format = values, formats[-1] if formats else ""
        shape.fields[entry.encode_name] = (entry.name, child)


def _marks(info: inspect.Type) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while isinstance(info, inspect.Metadata):
        if info.extra:
            found.append(info.extra)
        info = info.type
    if isinstance(info, inspect.UnionType):
        for choice in info.types:
            found += _marks(choice)
    return found


def _convert(info: inspect.Type, known: dict[type[Any], Shape]) -> Shape:
    while isinstance(info, inspect.Metadata):
        info = info.type
    match info:
        case inspect.UnionType():
            choices = [choice for choice in info.types if not isinstance(choice, inspect.NoneType)]
            if len(choices) == 1:
                return _convert(choices[0], known)
            sorts = {_convert(choice, known).sort for choice in choices}
            return Shape(Sort.QUANTITY if Sort.NUMBER in sorts else Sort.INT_OR_STRING)
        case inspect.StructType():
            if info.cls not in known:
                shape = Shape(Sort.OBJECT, info.cls)
                known[info.cls] = shape
                _fill(shape, info.cls, known)
            return known[info.cls]
        case inspect.ListType():
            return Shape(Sort.ARRAY, item=_convert(info.item_type, known))
        case inspect.DictType():
            return Shape(Sort.MAP, item=_convert(info.value_type, known))
        case inspect.StrType():
            return Shape(Sort.STRING)
        case inspect.IntType():
            return Shape(Sort.INTEGER)
        case inspect.FloatType():
            return Shape(Sort.NUMBER)
        case inspect.BoolType():
            return Shape(Sort.BOOLEAN)
        case _:
            return Shape(Sort.ANY)

"""When two objects mean the same: quantities by value, absent and empty alike.

Source: k8s.io/apimachinery/pkg/api/equality, Semantic.DeepEqual.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kvtui.virtapi.admission import amounts
from kvtui.virtapi.admission.shape import Shape, Sort, shape_of


def same(one: Any, other: Any) -> bool:
    """Whether two values of one class, or two lists of them, are equal in meaning."""
    if isinstance(one, msgspec.Struct) and isinstance(other, msgspec.Struct):
        if type(one) is not type(other):
            return False
        fields = shape_of(type(one)).fields.values()
        return all(_member(getattr(one, name), getattr(other, name), shape) for name, shape in fields)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _member(one: Any, other: Any, shape: Shape) -> bool:
    if one is None or other is None:
        return one is other
    match shape.sort:
        case Sort.QUANTITY:
            return amounts.exact(one) == amounts.exact(other)
        case Sort.OBJECT | Sort.ARRAY:
            return same(one, other)
        case Sort.MAP if shape.item is not None and shape.item.sort is Sort.QUANTITY:
            return bool(one.keys() == other.keys()) and all(
                amounts.exact(amount) == amounts.exact(other[name]) for name, amount in one.items()
            )
        case _:
            return bool(one == other)

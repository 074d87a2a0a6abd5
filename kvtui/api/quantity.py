"""Kubernetes quantities: "1Gi", "500m", 2, "1e3".

Source: k8s.io/apimachinery/pkg/api/resource.Quantity.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from kvtui.errors import InvalidQuantity

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,3})?$", re.ASCII)
_SCALE = {
    "": Decimal(1),
    **{s: Decimal(10) ** e for s, e in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)},
    **{s + "i": Decimal(2) ** (10 * n) for n, s in enumerate("KMGTPE", start=1)},
}


def parse(quantity: str | int | float) -> Decimal:
    """The exact value. Raises InvalidQuantity."""
    text = str(quantity) if not isinstance(quantity, bool) else ""
    match = _QUANTITY.match(text) if len(text) <= 64 else None
    if match is None:
        raise InvalidQuantity(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, suffix = match[1], match[2] or ""
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return Decimal(f"{number}{suffix}")
    return Decimal(number) * _SCALE[suffix]


def value(quantity: str | int | float) -> int:
    """Whole units, rounded up as upstream's Value() does: bytes of "1Gi", cores of "1500m" (2)."""
    return int(parse(quantity).to_integral_value(ROUND_CEILING))


def milli(quantity: str | int | float) -> int:
    """Thousandths, rounded up: 1500 of "1.5"."""
    return int((parse(quantity) * 1000).to_integral_value(ROUND_CEILING))


def binary(count: int) -> str:
    """The shortest exact form with a binary suffix: 1073741824 is "1Gi", 1500 is "1500"."""
    for suffix in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        unit = int(_SCALE[suffix])
        if count and count % unit == 0:
            return f"{count // unit}{suffix}"
    return str(count)


def from_milli(thousandths: int) -> str:
    """CPU notation: 1500 is "1500m", 2000 is "2"."""
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"

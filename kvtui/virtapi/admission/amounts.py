"""Quantities in rules: values that absent fields also have, and the texts that Go would print or complain with.

Go keeps a quantity's text when it fits its fast path and rewrites it otherwise ("1.5Gi" becomes "1536Mi").
Source: k8s.io/apimachinery/pkg/api/resource, ParseQuantity and CanonicalizeBytes.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from kvtui.api import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kvtui.api.wire import Quantity

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"
_SHAPE = re.compile(r"[+-]?(\d*)(?:\.(\d*))?([eEinumkKMGTP]*[+-]?\d*)", re.ASCII)
_SUFFIX = re.compile(r"|[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+", re.ASCII)
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def complaint(text: str) -> str:
    """Why Go would not take the text as a quantity; empty when it does."""
    match = _SHAPE.fullmatch(text) if text else None
    if match is None:
        return FORMAT_WRONG
    return "" if _SUFFIX.fullmatch(match[3]) else SUFFIX_WRONG


def exact(amount: Quantity | None) -> Decimal:
    """The value; 0 when absent. Decoding has refused what is no quantity."""
    if amount is None:
        return Decimal(0)
    text = str(amount)
    match = _SHAPE.fullmatch(text)
    if match is not None and not match[1] and not match[2]:
        return Decimal(0)  # Go reads "", "-" or "Gi" as nought
    return quantity.parse(text)


def value(amount: Quantity | None) -> int:
    """Whole units, rounded up; 0 when absent."""
    return int(exact(amount).to_integral_value(ROUND_CEILING))


def milli(amount: Quantity | None) -> int:
    """Thousandths, rounded up; 0 when absent."""
    return int((exact(amount) * 1000).to_integral_value(ROUND_CEILING))


def of(amounts: Mapping[str, Quantity] | None, resource: str) -> Quantity | None:
    """The amount of one resource, if given."""
    return amounts.get(resource) if amounts else None


def shown(amount: Quantity | None) -> str:
    """As it prints in a message: "0" when absent."""
    return "0" if amount is None else text_of(amount)


def text_of(amount: Quantity) -> str:
    """The text that Go would write back."""
    text = str(amount).strip()
    match = _SHAPE.fullmatch(text)
    if match is None:
        return text
    digits, fraction, suffix = match[1].lstrip("0"), match[2] or "", match[3]
    if suffix not in _BINARY:
        return text
    exponent = _BINARY[suffix]
    if not fraction and 15 - len(digits or "0") - exponent * 3 // 10 - 1 >= 0:
        return text
    return quantity.binary(value(text))

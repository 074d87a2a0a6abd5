"""Quantities that remember how they were written, so that sums come out as Kubernetes would print them.

Source: k8s.io/apimachinery/pkg/api/resource.Quantity (Add, CanonicalizeBytes).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from kvtui.api import quantity

_DECIMAL = {-3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}


@dataclass(frozen=True, slots=True)
class Amount:
    """A value and its notation: powers of 1024 or of 1000."""

    value: Decimal
    binary: bool = True

    @classmethod
    def of(cls, text: str | int | float) -> Amount:
        """Raises InvalidQuantity."""
        return cls(quantity.parse(text), str(text).endswith("i"))

    def __add__(self, other: Amount) -> Amount:
        """A zero takes over the notation of what is added to it."""
        return Amount(self.value + other.value, self.binary if self.value else other.binary)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.value - other.value, self.binary if self.value else other.binary)

    @property
    def whole(self) -> int:
        """Rounded up."""
        return quantity.value(str(self.value)) if self.value != int(self.value) else int(self.value)

    def kilo(self) -> int:
        """Thousands, rounded up."""
        return -(-self.whole // 1000)

    def __str__(self) -> str:
        if self.binary and abs(self.value) >= 1024:
            return quantity.binary(self.whole)
        step, number = 0, self.value
        while number != number.to_integral_value() and step > -3:
            number, step = number * 1000, step - 1
        count = int(number)
        while count and count % 1000 == 0 and step < 6:
            count, step = count // 1000, step + 1
        return f"{count}{_DECIMAL[step]}"


ZERO = Amount(Decimal(0), binary=False)


def mebi(count: int) -> Amount:
    return Amount(Decimal(count * 2**20))

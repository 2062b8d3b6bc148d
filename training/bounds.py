"""Which values the numbers in a configuration file may have."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Bounds:
    """Values from `low` to `high`.

    Args:
        low, high: Lower and upper bound.
        without_low, without_high: Whether a bound itself is left out.
    """

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def __contains__(self, value: float) -> bool:
        low = self.low < value if self.without_low else self.low <= value
        high = value < self.high if self.without_high else value <= self.high
        return bool(low and high and math.isfinite(value))

    def __str__(self) -> str:
        low = f"above {self.low:g}" if self.without_low else f"from {self.low:g}"
        if self.high == math.inf:
            return low if self.without_low else f"at least {self.low:g}"
        return f"{low} to {'below ' if self.without_high else ''}{self.high:g}"


POSITIVE = Bounds(0, without_low=True)
NOT_NEGATIVE = Bounds(0)
COUNT = Bounds(1)
SHARE = Bounds(0, 1)
SEED = Bounds(0, 2**32 - 1)
DECIBELS = Bounds(-200, 200)


def check_numbers(config, **bounds: Bounds) -> None:
    """Check the numbers of a dataclass: each `*_share` is in [0, 1], and a field of `bounds` within them.

    A field may also be `None`, a list of numbers or a tuple. A tuple is a range, the lower number first.

    Raises:
        ValueError: for a value out of bounds; the message names its field.
    """
    for name in (field.name for field in fields(config)):
        value = getattr(config, name)
        if isinstance(value, tuple) and (len(value) != 2 or not value[0] <= value[1]):
            raise ValueError(f"{name} must be two numbers, the lower one first, got {list(value)}")
        allowed = SHARE if name.endswith("_share") else bounds.get(name)
        if allowed is None or value is None:
            continue
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if any(number not in allowed for number in numbers):
            shown = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"{name} must be {allowed}, got {shown}")

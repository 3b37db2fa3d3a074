"""Quantities written with their unit: '23.6 pJ', '128 KiB', '4.1 ns'.

A bare number, a sign, a wrong unit, NaN or infinity is refused with a ValueError
that names the units allowed; the loader adds the file and the key. Decimal text is
scaled exactly (as a fraction), so '23.6 pJ' is the same float64 as 23.6e-12.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Final

from pydantic import BeforeValidator

_FORM: Final = re.compile(
    r"(?P<number>[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?) ?(?P<unit>[A-Za-z]+|%)"
)

_JOULE: Final = {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0}
_WATT: Final = {"uW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3}
_PICOSECOND: Final = {"ps": 1.0, "ns": 1e3, "us": 1e6, "ms": 1e9, "s": 1e12}
_BYTE: Final = {"B": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_BIT: Final = {"bit": 1.0}
_SHARE: Final = {"%": 0.01}

MAX_WHOLE: Final = 2**63 - 1
"""Whole quantities end up in int64 arrays."""


def _scaled(raw: object, units: dict[str, float]) -> Fraction:
    found = _FORM.fullmatch(raw) if isinstance(raw, str) else None
    if found is None or found["unit"] not in units:
        raise ValueError(f"{raw!r} is not a number with one of {', '.join(units)}")
    return Fraction(found["number"]) * Fraction(repr(units[found["unit"]]))


def _whole(raw: object, units: dict[str, float]) -> int:
    value, smallest = _scaled(raw, units), next(iter(units))
    if value.denominator != 1:
        raise ValueError(f"{raw!r} is not a whole number of {smallest}")
    if value > MAX_WHOLE:
        raise ValueError(f"{raw!r} is more than 2^63 - 1 {smallest}")
    return int(value)


def energy_j(raw: object) -> float:
    """Joules of '23.6 pJ'."""
    return float(_scaled(raw, _JOULE))


def power_w(raw: object) -> float:
    """Watts of '700 mW'."""
    return float(_scaled(raw, _WATT))


def time_ps(raw: object) -> int:
    """Whole picoseconds of '4.1 ns'."""
    return _whole(raw, _PICOSECOND)


def size_bytes(raw: object) -> int:
    """Bytes of '128 KiB'."""
    return _whole(raw, _BYTE)


def width_bits(raw: object) -> int:
    """Bits of '32 bit'."""
    return _whole(raw, _BIT)


def share(raw: object) -> float:
    """0.045 of '4.5 %'; at most 100 %."""
    value = _scaled(raw, _SHARE)
    if value > 1:
        raise ValueError(f"{raw!r} is more than 100 %")
    return float(value)


def count(raw: object) -> int:
    """A plain whole number, not negative; it takes no unit."""
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise ValueError(f"{raw!r} is not a whole number without a unit")
    if not 0 <= raw <= MAX_WHOLE:
        raise ValueError(f"{raw!r} is not between 0 and 2^63 - 1")
    return raw


def positive(parse: Callable[[object], int]) -> Callable[[object], int]:
    """The same parser, but zero is refused too."""

    def more_than_zero(raw: object) -> int:
        value = parse(raw)
        if value == 0:
            raise ValueError(f"{raw!r} must be more than 0")
        return value

    return more_than_zero


Picoseconds = Annotated[int, BeforeValidator(time_ps)]
PositivePicoseconds = Annotated[int, BeforeValidator(positive(time_ps))]
PositiveBytes = Annotated[int, BeforeValidator(positive(size_bytes))]
Bits = Annotated[int, BeforeValidator(width_bits)]
PositiveBits = Annotated[int, BeforeValidator(positive(width_bits))]
Share = Annotated[float, BeforeValidator(share)]
Count = Annotated[int, BeforeValidator(count)]
Positive = Annotated[int, BeforeValidator(positive(count))]

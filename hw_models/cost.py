"""What an event costs: an energy interval, and the kinds of event it pays for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import PlainValidator

from hw_models.quantity import energy_j, power_w

GRADES: Final = ("measured", "simulated", "derived", "assumed")
"""Where a number comes from, best first: silicon or its maker's specification; a circuit or
architecture simulation; arithmetic on published numbers; our choice."""


@dataclass(frozen=True, slots=True)
class Range:
    """low <= nominal <= high, in SI units (joules or watts)."""

    low: float
    nominal: float
    high: float


@dataclass(frozen=True, slots=True)
class Cost:
    """joules = energy x counts of the `per` kinds; the other kinds in `covers` are included."""

    key: str
    covers: tuple[str, ...]
    per: tuple[str, ...]
    energy: Range  # joules per event
    source: str
    grade: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A number as a file writes it when it gives an interval; a missing end is the value."""

    value: object
    low: object
    high: object


def span(parse: Callable[[object], float]) -> Callable[[object], Range]:
    """A parser of '23.6 pJ' or of a Written interval; ValueError unless low <= value <= high."""

    def interval(raw: object) -> Range:
        if not isinstance(raw, Written):
            value = parse(raw)
            return Range(value, value, value)
        low, nominal, high = parse(raw.low), parse(raw.value), parse(raw.high)
        if not low <= nominal <= high:
            raise ValueError(f"{raw.value!r} lies outside {raw.low!r} .. {raw.high!r}")
        return Range(low, nominal, high)

    return interval


EnergyRange = Annotated[Range, PlainValidator(span(energy_j))]
PowerRange = Annotated[Range, PlainValidator(span(power_w))]

"""Numbers as people read them: SI prefixes, separated thousands, shares."""

from math import floor, isfinite, log10
from typing import Final

NOTHING: Final = "-"
_PREFIX: Final = {
    -18: "a", -15: "f", -12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"
}  # fmt: skip


def si(value: float | None, unit: str, digits: int = 3) -> str:
    """'1.23 mJ': `digits` significant digits and a prefix; '-' for None, NaN and infinity."""
    if value is None or not isfinite(value):
        return NOTHING
    if value == 0:
        return f"0 {unit}"
    # round first: 999.96 pJ is 1.00 nJ, not 1000 pJ
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = max(-18, min(12, 3 * floor(log10(abs(rounded)) / 3)))
    scaled = rounded / 10.0**exponent
    decimals = max(0, digits - 1 - floor(log10(abs(scaled)) + 1e-9))
    return f"{scaled:.{decimals}f} {_PREFIX[exponent]}{unit}"


def whole(value: float | None) -> str:
    """'1,234,567'; '-' for None."""
    return NOTHING if value is None else f"{round(value):,}"


def share(value: float | None, digits: int = 1) -> str:
    """'12.3 %'; '-' for None and NaN."""
    if value is None or not isfinite(value):
        return NOTHING
    return f"{100 * value:.{digits}f} %"


def change(value: float | None, reference: float | None, digits: int = 1) -> str:
    """'-97.7 %' or, from twice as much on, '19 x'; '-' where one of the two is missing."""
    if value is None or reference is None or not reference:
        return NOTHING
    ratio = value / reference
    return f"{ratio:.3g} x" if ratio >= 2 else f"{100 * (ratio - 1):+.{digits}f} %"


def interval(low: float, high: float, unit: str) -> str:
    """'29.1 .. 152 uJ', both ends with the prefix of the higher one where that can be read."""
    if low == high:
        return si(low, unit)
    number, _, prefixed = si(high, unit).partition(" ")
    exponent = next((e for e, p in _PREFIX.items() if f"{p}{unit}" == prefixed), 0)
    scaled = low / 10.0**exponent
    if 0 < scaled < 0.01:
        return f"{si(low, unit)} .. {si(high, unit)}"
    return f"{scaled:.3g} .. {number} {prefixed}"


def size(n_bytes: int) -> str:
    """'1.6 MiB'."""
    size, units = float(n_bytes), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.4g} {units[0]}"

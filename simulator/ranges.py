"""Arithmetic on low / nominal / high intervals."""

from hw_models.cost import Range


def times(span: Range, factor: float) -> Range:
    """Every end of an interval by one non-negative factor."""
    return Range(span.low * factor, span.nominal * factor, span.high * factor)


def minus(more: Range, less: Range) -> Range:
    """End by end: what `more`, a sum that holds `less`, has besides it."""
    return Range(more.low - less.low, more.nominal - less.nominal, more.high - less.high)

"""One spike event at a time from a count, in the order a channel emits them; or step by step."""

from numba import njit

BINARY, TERNARY, BITWISE, GRADED = 0, 1, 2, 4  # rows of kernels.coding's table


@njit(inline="always")
def next_spike(left, coding):
    """(payload, multiplicity, what is left) of a count; left = 0 ends the channel.

    binary (n less the zero point, so never negative) and ternary: one burst of |n| signed units;
    bitwise: set bits, lowest first, as +-2^b; graded: n itself.
    """
    if coding == BITWISE:
        size = abs(left)
        bit = size & -size
        return (bit, 1, left - bit) if left > 0 else (-bit, 1, left + bit)
    if coding <= TERNARY:
        return (1, left, 0) if left > 0 else (-1, -left, 0)
    return left, 1, 0


@njit(inline="always")
def in_step(n, coding, step):
    """(the part of a count that leaves in a step of its train, whether more leaves later).

    binary and ternary: a unit per step; bitwise: bit `step`, if set; graded: all in step 0.
    """
    size = abs(n)
    if coding == BITWISE:
        part, more = size & (1 << step), size >> step > 1
    elif coding <= TERNARY:
        part, more = min(1, max(0, size - step)), size > step + 1
    else:
        part, more = size if step == 0 else 0, False
    return (part if n > 0 else -part), more

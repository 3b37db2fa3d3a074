"""Numba twin of an encoder site: V_th and counts, then spikes, of one vector (DESIGN 3.1, 3.2).

Bit for bit what kernels.threshold and kernels.coding compute.
"""

import numpy as np

from simulator.hot.expand import BINARY, BITWISE, GRADED, next_spike
from simulator.hot.jit import entry, inner

OK, NOT_FINITE, TOO_LARGE, TOO_MANY, TOO_WIDE, NO_ROOM = 0, 1, 2, 3, 4, 5
"""Status: fine, a NaN or infinity in x, |x| >= 2^18, |count| >= 2^31, a count that needs more
than `bits` bits, arrays too short for the events."""

TWO_COMPLEMENT = 3  # the row of kernels.coding's table that next_spike does not know

FLOOR = np.float32(1e-5)
LARGEST = np.float32(2.0**18)
SCALE = 2.0**28
COUNTS = np.float32(2.0**31)
SMALLEST = np.float32(1e-30)
STEPS16 = np.float32(32767)


@inner
def check(x):
    """Status of float32[n] values before any threshold."""
    status = OK
    for value in x:
        if not np.isfinite(value):
            return NOT_FINITE
        if abs(value) >= LARGEST:
            status = TOO_LARGE
    return status


@entry
def count(x, v_th, counts):
    """counts[i] = rint(x[i] / v_th), half to even; a status, TOO_MANY where one does not fit."""
    for i in range(x.size):
        quotient = np.rint(x[i] / v_th)
        if not abs(quotient) < COUNTS:
            return TOO_MANY
        counts[i] = np.int32(quotient)
    return OK


@entry
def mean_abs_count(x, k, counts):
    """(V_th float32, status) of float32[n] under mean-abs; counts int32[n] is written.

    k is float64. V_th is 0 and counts are undefined when status is not OK.
    """
    status = check(x)
    if status != OK:
        return np.float32(0), status
    total = np.int64(0)
    for value in x:
        total += np.int64(np.rint(np.float64(abs(value)) * SCALE))
    v_th = max(np.float32(np.float64(total) / (np.float64(x.size) * k * SCALE)), FLOOR)
    status = count(x, v_th, counts)
    return (v_th if status == OK else np.float32(0)), status


@entry
def absmax16_count(x, counts):
    """(V_th float32, status) of float32[n] under absmax16; counts int32[n] is written.

    V_th is 0 and counts are undefined when status is not OK.
    """
    status = check(x)
    if status != OK:
        return np.float32(0), status
    largest = SMALLEST
    for value in x:
        largest = max(largest, abs(value))
    v_th = largest / STEPS16
    return v_th, count(x, v_th, counts)


@entry
def expand(counts, coding, bits, channel, payload, times):
    """Spike events of counts int32[n] in emission order: (n_events, zero_point, status).

    coding   code of a row of kernels.coding's table
    bits     width of bitwise-2c and graded counts
    channel  int32[room], payload int64[room], times int64[room]: written up to n_events;
             room for n events is enough for binary, ternary and graded, for 32 n in all
    """
    zero_point = min(np.int64(0), np.int64(counts.min())) if coding == BINARY else np.int64(0)
    half = np.int64(1) << (bits - 1)
    walk = BITWISE if coding == TWO_COMPLEMENT else coding
    n_events = 0
    for c in range(counts.size):
        left = np.int64(counts[c]) - zero_point
        if coding in (TWO_COMPLEMENT, GRADED) and not -half <= left < half:
            return n_events, zero_point, TOO_WIDE
        if coding == TWO_COMPLEMENT:
            left &= 2 * half - 1
        while left != 0:
            if n_events == channel.size:
                return n_events, zero_point, NO_ROOM
            value, n_spikes, left = next_spike(left, walk)
            if coding == TWO_COMPLEMENT and value == half:
                value = -half
            channel[n_events], payload[n_events], times[n_events] = c, value, n_spikes
            n_events += 1
    return n_events, zero_point, OK

"""Numba twin of kernels.threshold: V_th and counts of one vector, the same bits (DESIGN 3.1)."""

import numpy as np
from numba import njit

OK, NOT_FINITE, TOO_LARGE, TOO_MANY = 0, 1, 2, 3
"""Status: fine, a NaN or infinity in x, |x| >= 2^18, |count| >= 2^31."""

FLOOR = np.float32(1e-5)
LARGEST = np.float32(2.0**18)
SCALE = 2.0**28
COUNTS = np.float32(2.0**31)
SMALLEST = np.float32(1e-30)
STEPS16 = np.float32(32767)


@njit(cache=True, error_model="numpy")
def check(x):
    """Status of float32[n] values before any threshold."""
    status = OK
    for value in x:
        if not np.isfinite(value):
            return NOT_FINITE
        if abs(value) >= LARGEST:
            status = TOO_LARGE
    return status


@njit(cache=True, error_model="numpy")
def count(x, v_th, counts):
    """counts[i] = rint(x[i] / v_th), half to even; a status, TOO_MANY where one does not fit."""
    for i in range(x.size):
        quotient = np.rint(x[i] / v_th)
        if not abs(quotient) < COUNTS:
            return TOO_MANY
        counts[i] = np.int32(quotient)
    return OK


@njit(cache=True, error_model="numpy")
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


@njit(cache=True, error_model="numpy")
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

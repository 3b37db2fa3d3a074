"""W8 weights row by row: the Numba twin of kernels.linear.quantize_w8, and a check of its own.

Both take a matrix as the bits of its floats: uint32 of float32 (shift 0), or uint16 of bfloat16
(shift 16), which is the upper half of the same number as float32. They call nothing outside of
this file, so that numba's own cache knows when they have changed.
"""

import math

import numpy as np
from numba import njit

GROUP = 128
NORMAL = 2.0**-126
LARGEST = 32767
FULL = 127.0 * 32767 / 32768  # the largest weight of a row, in row scales
ZERO = FULL * NORMAL  # rows of smaller weights are zero
UNSIGNED = np.uint32(0x7FFFFFFF)
INFINITE = np.uint32(0x7F800000)
"""Bits of infinity; those of NaN are larger. Without their sign, bits are ordered as floats are."""

FINE, CODE, MANTISSA, SCALE = 0, 1, 2, 3  # what `check` found


@njit(inline="always")
def _float(bits):
    return np.float64(np.uint32(bits).view(np.float32))


@njit(cache=True, nogil=True, error_model="numpy")
def quantize(source, shift, first, step, bits, q, m, row_scale):
    """Row i of source becomes neuron first + i * step; returns the first row with NaN or
    infinity, or -1.

    source     uint32 or uint16 [rows, n_pre]
    bits       uint32[n_pre]               room to work in
    q          int8[neurons, n_pre]        written, as m and row_scale
    m          int32[neurons, groups]
    row_scale  float32[neurons]
    """
    rows, n_pre = source.shape
    groups = m.shape[1]
    value = bits.view(np.float32)
    for i in range(rows):
        o = first + i * step
        for j in range(n_pre):
            bits[j] = np.uint32(source[i, j]) << shift
        most = np.uint32(0)
        for g in range(groups):
            largest = np.uint32(0)
            for j in range(g * GROUP, min(n_pre, (g + 1) * GROUP)):
                largest = max(largest, bits[j] & UNSIGNED)
            m[o, g] = np.int32(largest)
            most = max(most, largest)
        if most >= INFINITE:
            return i
        scale = np.float32(_float(most) / 127.0 * 32768.0 / 32767.0)
        if scale < NORMAL:
            row_scale[o] = 1.0
            m[o, :] = 1
            q[o, :] = 0
            continue
        row_scale[o] = scale
        unit = np.float64(scale)
        for g in range(groups):
            mantissa = math.ceil(32768.0 * _float(m[o, g]) / (127.0 * unit))
            mantissa = min(max(mantissa, 1.0), 32767.0)
            m[o, g] = np.int32(mantissa)
            width = unit * mantissa / 32768.0
            for j in range(g * GROUP, min(n_pre, (g + 1) * GROUP)):
                code = np.rint(np.float64(value[j]) / width)
                q[o, j] = np.int8(min(max(code, -127.0), 127.0))
    return -1


@njit(inline="always")
def _nothing(value, q, m):
    """Whether a row is as good as zero, and its codes and mantissas say so."""
    large, used = 0, 0
    for j in range(value.size):
        large += abs(np.float64(value[j])) > ZERO * (1.0 + 2.0**-23)
        used += q[j] != 0
    for g in range(m.size):
        used += m[g] != 1
    return large == 0 and used == 0


@njit(cache=True, nogil=True, error_model="numpy")
def check(source, shift, rows, neurons, bits, q, m, row_scale):
    """Whether neurons[i] stands for row rows[i] of source; (what is wrong, which neuron).

    Compares and multiplies where `quantize` takes maxima and divides: every weight lies within
    half a step of its code, every mantissa is the least whose 127 steps cover its group, and the
    row scale is the one whose mantissa 32767 covers the row, rounded to float32.
    """
    n_pre, groups = source.shape[1], m.shape[1]
    value = bits.view(np.float32)
    for i in range(rows.size):
        r, o = rows[i], neurons[i]
        for j in range(n_pre):
            bits[j] = np.uint32(source[r, j]) << shift
        unit = np.float64(row_scale[o])
        if not unit >= NORMAL:
            return SCALE, o
        if unit == 1.0 and _nothing(value, q[o], m[o]):
            continue
        full = False
        for g in range(groups):
            begin, end = g * GROUP, min(n_pre, (g + 1) * GROUP)
            step = unit * m[o, g] / 32768.0
            # rounding the row scale may cost more than half a step at the ends of the range
            near = 0.5 * step + 127.0 * step * 2.0**-23
            least = 127.0 * (unit * (m[o, g] - 1) / 32768.0) * (1.0 - 2.0**-50)
            most = 127.0 * step * (1.0 + (2.0**-23 if m[o, g] == LARGEST else 2.0**-50))
            wrong, beyond, reached = 0, 0, 0
            for j in range(begin, end):
                w = np.float64(value[j])
                wrong += not abs(w - q[o, j] * step) <= near
                beyond += abs(w) > most
                reached += abs(w) > least
            if wrong:
                return CODE, o
            if not 1 <= m[o, g] <= LARGEST or beyond or not (reached or m[o, g] == 1):
                return MANTISSA, o
            if m[o, g] == LARGEST:
                for j in range(begin, end):
                    full |= abs(np.float64(value[j])) > FULL * unit * (1.0 - 2.0**-23)
        if not full:
            return SCALE, o
    return FINE, -1

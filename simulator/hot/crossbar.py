"""A crossbar tile at the close of a token: drive rows, convert columns, shift and add.

The twin of kernels/crossbar.py, which says what is computed. Counts of a token gather where
a digital tile keeps its accumulators; here they are read from the tile's arrays.
"""

from numba import int64

from simulator.hot import state as h
from simulator.hot.fail import fail
from simulator.hot.jit import inner

GROUP = 128
FRACTION = 8
OFFSET = 128
INT32_MAX = 2147483647


@inner
def close_arrays(
    reg, row, a, all_cells, mantissa, counts, scratch, counted, unary, limit, task, token
):
    """P of a tile's neurons from a token's counts, which are cleared; returns picoseconds.

    row       columns of Fixed.task; a, all_cells, mantissa: Fixed.array, cell, mantissa
    counts    int32[n_pre] of the token
    scratch   State.row_sums: P of the n neurons, then a group's A, then column sums
    counted   the tile's row of State.progress
    limit     P beyond it does not fit a message

    Arrays along the neurons see the same drives at the same time, arrays along the inputs work
    beside each other, the row blocks of one array one after the other. Without cells everything is
    counted and timed, and no sum is formed. Only arrays are handed in,
    not Fixed and State: every kernel that takes them whole costs seconds to compile.
    """
    n, n_pre, at_once, columns = row[h.NEURON_N], counts.size, a[h.A_AT_ONCE], a[h.A_COLUMNS]
    width = columns * n
    sums, group, column = scratch[:n], scratch[n : 2 * n], scratch[2 * n : 2 * n + width + 1]
    sums[:] = 0
    busy = longest = int64(0)
    for start in range(0, n_pre, at_once):
        if start % GROUP == 0:
            group[:] = 0
        if start % a[h.A_ROWS] == 0:
            longest, busy = max(longest, busy), 0
        end = min(start + at_once, n_pre)
        at = row[h.WEIGHT] * columns + start * width
        cell = all_cells[at : at + (end - start) * width]
        at = row[h.MANTISSA] * columns * (GROUP // at_once) + start // at_once * width
        flip = all_cells[a[h.A_FLIPS] + at : a[h.A_FLIPS] + at + width]
        busy += read_block(a, unary, counts[start:end], cell, flip, column, group, counted)
        if cell.size and (end % GROUP == 0 or end == n_pre):
            at = row[h.MANTISSA] + start // GROUP * n
            for j in range(n):
                if abs(group[j]) > INT32_MAX:
                    fail(reg, h.E_ACCUMULATOR, task, token, row[h.NEURON_LO] + j, group[j])
                sums[j] += mantissa[at + j] * group[j]
    for j in range(n):
        if sums[j] >= limit or sums[j] < -limit:
            fail(reg, h.E_PARTIAL, task, token, row[h.NEURON_LO] + j, sums[j])
    counts[:] = 0
    return max(longest, busy) * a[h.A_STEP_PS]


@inner
def read_block(a, unary, counts, cell, flip, column, group, counted):
    """Drive one block of rows step by step; returns the steps that drove any.

    counts int32[rows]; cell uint16[rows, column, neuron] in 1/256; flip uint16[column, neuron];
    column int64 scratch, its last the column of ones; group int64[n] A, added to; counted: the
    tile's counters
    """
    n, columns = group.size, a[h.A_COLUMNS]
    side_by_side = (n + a[h.A_NEURONS] - 1) // a[h.A_NEURONS]
    width = columns * n
    mask = (1 << a[h.A_DAC_BITS]) - 1
    steps = int64(0)
    for sign in range(1, -2, -2):
        most = int64(0)
        for i in range(counts.size):
            most = max(most, sign * counts[i])
        done = int64(0)  # bits, or units, that earlier steps have driven
        while (most - done if unary else most >> done) > 0:
            driven = int64(0)
            column[:] = 0
            for i in range(counts.size):
                left = max(int64(sign * counts[i]), 0)
                drive = min(max(left - done, 0), mask) if unary else (left >> done) & mask
                if drive:
                    driven += 1
                    column[width] += drive << FRACTION
                    add_row(column, cell[i * width : (i + 1) * width], drive)
            if driven:
                steps += 1
                counted[h.DRIVEN] += side_by_side * driven
                counted[h.READS] += side_by_side
                unit = sign if unary else sign << done
                if cell.size:
                    convert_columns(a, column, flip, group, unit, side_by_side, counted)
                else:
                    counted[h.CONVERTED] += width + (0 if a[h.A_PAIRS] else side_by_side)
            done += mask if unary else a[h.A_DAC_BITS]
    return steps


@inner
def add_row(column, cell, drive):
    """Sums += drive * level for one row: int64[width + 1], uint16[width]."""
    for c in range(cell.size):
        column[c] += drive * int64(cell[c])


@inner
def convert(a, total, times, counted):
    """The integer that a column's code stands for; `times` columns alike are counted."""
    step = a[h.A_ADC_STEP]
    code = (total + ((step << FRACTION) >> 1)) // (step << FRACTION)
    counted[h.CONVERTED] += times
    if code > a[h.A_LARGEST]:
        counted[h.CLIPPED] += times
        code = a[h.A_LARGEST]
    return code * step


@inner
def convert_columns(a, column, flip, group, unit, side_by_side, counted):
    """Turn one step's column sums into codes; shift and add them to the sums of the group."""
    n, columns, bits = group.size, a[h.A_COLUMNS], a[h.A_BITS]
    slices, ones = columns, int64(0)
    if a[h.A_PAIRS]:
        slices = columns // 2
    else:
        ones = convert(a, column[columns * n], side_by_side, counted)
        for j in range(n):
            group[j] -= unit * OFFSET * ones
    for c in range(columns):
        factor = unit << bits * (c % slices)
        if c >= slices:
            factor = -factor
        for j in range(n):
            value = convert(a, column[c * n + j], 1, counted)
            if flip[c * n + j]:
                value = ((1 << bits) - 1) * ones - value
            group[j] += factor * value

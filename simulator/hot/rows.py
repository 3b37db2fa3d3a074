"""A tile's sums at the close of a token: the rows that its spikes drive, added eight at a time.

A core gathers the count of every input as spikes arrive; a row is then read once, however many
spikes a count takes. Eight rows at once go into int16 partial sums, which stay in the nearest
cache; before those could overflow they move to the group's int32 accumulators, and from there,
times the group's mantissa, into P. All of it is integer, so the order changes nothing.
"""

import numpy as np
from numba import int32, int64, prange, uint64
from numba.extending import register_jitable

from simulator.hot.jit import inner, threaded

GROUP = 128
INT32_MAX = 2147483647
AT_ONCE = 8
LIMIT = 32767 // 127
"""Sum of |count| up to which int16 holds any sum of int8 rows."""
COLUMNS = 4096
"""Neurons per block: their sums stay in a cache of 32 KiB."""
ROOM = GROUP + AT_ONCE


LO, N_PRE, NEURON_LO, NEURON_N, WEIGHT, MANTISSA = range(6)
"""Columns of a table of tiles: inputs and neurons of their linear, offsets of their arrays."""


@register_jitable
def scratch_size(widest):
    """int64 entries that sums of a tile of `widest` neurons need beside P."""
    return 2 * ROOM + AT_ONCE + (widest + 1) // 2 + (widest + 3) // 4


@inner
def tile_sums(sums, scratch, weight, mantissa, counts):
    """P = sum over groups of m * A, A = sum over the group's inputs of count * q.

    sums      int64[n], written
    scratch   int64[scratch_size(n)]
    weight    int8[n_pre * n], axon-major
    mantissa  int16[groups * n]
    counts    int32[n_pre]; A fits int32 (the caller's to check)
    """
    n = sums.size
    at, drive, few = scratch[:ROOM], scratch[ROOM : 2 * ROOM], 2 * ROOM + AT_ONCE
    eight = scratch[2 * ROOM : few].view(np.int16)[:AT_ONCE]
    total = scratch[few : few + (n + 1) // 2].view(np.int32)[:n]
    partial = scratch[few + (n + 1) // 2 :].view(np.int16)[:n]
    sums[:] = 0
    for first in range(0, counts.size, GROUP):
        active = listed(at, drive, counts, first, n)
        if active == 0:
            continue
        m = mantissa[first // GROUP * n : first // GROUP * n + n]
        for lo in range(0, n, COLUMNS):
            hi = min(lo + COLUMNS, n)
            own, some, rest = sums[lo:hi], total[lo:hi], partial[lo:hi]
            if accumulate(some, rest, weight, lo, at, drive, active, eight):
                add_group(own, m[lo:hi], some, rest)
            else:
                add_few(own, m[lo:hi], rest)


@inner
def beyond(sums, weight, counts):
    """The first neuron whose accumulator would not fit int32, and what it would be; -1 for none.

    sums int64[n] scratch; weight int8[rows * n] and counts int32[rows] of one group.
    """
    n = sums.size
    sums[:] = 0
    for i in range(counts.size):
        if counts[i]:
            for j in range(n):
                sums[j] += int64(counts[i]) * weight[i * n + j]
    for j in range(n):
        if sums[j] > INT32_MAX or sums[j] < -INT32_MAX - 1:
            return j, sums[j]
    return -1, 0


@inner
def listed(at, drive, counts, first, n):
    """Where the rows of a group's active inputs begin, and their counts; filled up to a multiple
    of eight with rows that count nothing. Returns how many, with those."""
    k = 0
    for i in range(first, min(first + GROUP, counts.size)):
        at[k], drive[k] = i * n, counts[i]
        k += counts[i] != 0
    full = (k + AT_ONCE - 1) // AT_ONCE * AT_ONCE
    for i in range(k, full):
        at[i], drive[i] = at[0], 0
    return full


@inner
def accumulate(total, partial, weight, lo, at, drive, active, eight):
    """total + partial = A of one group for a block of neurons that begins at `lo`.

    False: partial alone is, and total was not needed.
    """
    n = total.size
    partial[:] = 0
    held, used = int64(0), False  # held: what |partial| / 127 could be
    for z in range(0, active, AT_ONCE):
        rows, size = at[z : z + AT_ONCE], int64(0)
        for i in range(AT_ONCE):
            eight[i] = drive[z + i]
            size += abs(drive[z + i])
        if held + size > LIMIT and not used:
            total[:] = 0
            used = True
        if size > LIMIT:
            for i in range(AT_ONCE):
                add_row(total, weight[rows[i] + lo : rows[i] + lo + n], int32(drive[z + i]))
            continue
        if held + size > LIMIT:
            for j in range(n):
                total[j] += partial[j]
                partial[j] = 0
            held = int64(0)
        held += size
        add_rows(partial, weight, lo, rows, eight)
    return used


@inner
def add_group(sums, mantissa, total, partial):
    """P += m * A for a group's block of neurons."""
    for j in range(sums.size):
        sums[j] += int64(mantissa[j]) * int64(int32(total[j] + partial[j]))


@inner
def add_few(sums, mantissa, partial):
    """The same for an A of 16 bits: its product with m fits 32."""
    for j in range(sums.size):
        sums[j] += int32(mantissa[j]) * int32(partial[j])


@inner
def add_row(v, weight, count):
    """v += count * q for one row: int32[n], int8[n], modulo 2^32."""
    for j in range(v.size):
        v[j] += count * weight[j]


@inner
def add_rows(v, weight, lo, at, count):
    """v += count * q for eight rows: int16[n], int8; rows begin at int64[8] + lo; int16[8].

    Unsigned indices, because signed ones might count from the end: that keeps SIMD away.
    """
    a0, a1, a2, a3 = uint64(at[0] + lo), uint64(at[1] + lo), uint64(at[2] + lo), uint64(at[3] + lo)
    a4, a5, a6, a7 = uint64(at[4] + lo), uint64(at[5] + lo), uint64(at[6] + lo), uint64(at[7] + lo)
    c0, c1, c2, c3 = count[0], count[1], count[2], count[3]
    c4, c5, c6, c7 = count[4], count[5], count[6], count[7]
    for i in range(v.size):
        j = uint64(i)
        v[j] += (
            c0 * weight[a0 + j] + c1 * weight[a1 + j] + c2 * weight[a2 + j] + c3 * weight[a3 + j]
            + c4 * weight[a4 + j] + c5 * weight[a5 + j] + c6 * weight[a6 + j] + c7 * weight[a7 + j]
        )  # fmt: skip


@threaded
def linear_sums(y, tile, weight, mantissa, counts):
    """Y of a linear whose counts are all known, the threads over the cores that hold its tiles.

    y         int64[n_post], written
    tile      int64[n_tiles, 6]: columns as named above
    weight    int8, of all tiles; mantissa: int16
    counts    int32[n_pre]

    Every core forms its own P, and homes add them up in the order of the tiles: integers, so any
    number of threads gives the same.
    """
    widest = tile[:, NEURON_N].max()
    partial = np.empty((tile.shape[0], widest), np.int64)
    for t in prange(tile.shape[0]):
        n, n_pre = tile[t, NEURON_N], tile[t, N_PRE]
        scratch = np.empty(scratch_size(n), np.int64)
        m = mantissa[tile[t, MANTISSA] : tile[t, MANTISSA] + (n_pre + GROUP - 1) // GROUP * n]
        q = weight[tile[t, WEIGHT] : tile[t, WEIGHT] + n_pre * n]
        tile_sums(partial[t, :n], scratch, q, m, counts[tile[t, LO] : tile[t, LO] + n_pre])
    y[:] = 0
    for t in range(tile.shape[0]):
        lo, n = tile[t, NEURON_LO], tile[t, NEURON_N]
        y[lo : lo + n] += partial[t, :n]

"""How often the arrays of a crossbar are expected to be read per token.

A block of rows is driven once for every slice of bits in which one of its counts has any, for
positive and negative counts apart. Counts are taken as distributed exponentially, with the mean
that the mapping looked at; 16-bit values as uniform.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.program import TILE, Program
from hw_models.array import Array

F64 = NDArray[np.float64]

MOST = 1 << 15
"""Counts are below it (absmax16)."""


@dataclass(frozen=True, slots=True)
class Reads:
    """By task and token: rows driven, arrays read, columns converted, picoseconds."""

    driven: F64
    reads: F64
    converted: F64
    ps: F64


def expected_reads(program: Program, mean_counts: F64) -> Reads:
    """mean_counts: mean |n| by site; NaN for 16-bit values. Nothing where cores add by spikes."""
    t, array = program.tables, program.chip.array
    found = np.zeros((4, t.task_core.size))
    if array is not None:
        sites = [s.name for s in program.graph.sites]
        for index, linear in enumerate(program.graph.linears):
            unary = program.codings[linear.site][0] == "ternary"
            driven = _drives(array, float(mean_counts[sites.index(linear.site)]), unary)
            tiles = np.flatnonzero((t.task_kind == TILE) & (t.task_linear == index))
            sizes = np.stack([t.task_n_pre[tiles], t.task_neuron_n[tiles]], axis=1)
            for size in np.unique(sizes, axis=0):
                same = tiles[(sizes == size).all(axis=1)]
                found[:, same] = _of_tile(array, driven, *map(int, size))[:, None]
    return Reads(*found)


def _drives(array: Array, mean: float, unary: bool) -> F64:
    """By step: share of the rows that it drives, of one sign."""
    mask = (1 << array.dac_bits) - 1
    count = np.arange(MOST)
    share = np.full(MOST, 1 / MOST)
    if not np.isnan(mean):
        above = np.exp(-(np.maximum(count - 0.5, 0)) / mean)  # of |n| >= count
        share = above - np.append(above[1:], 0)
    steps = range(0, 64 * mask, mask) if unary else range(0, 15, array.dac_bits)
    on = [count > done if unary else (count >> done) & mask > 0 for done in steps]
    return np.array([share[bits].sum() / 2 for bits in on])


def _of_tile(array: Array, drives: F64, n_pre: int, n: int) -> F64:
    """Rows driven, arrays read, columns converted and picoseconds of one tile."""
    side_by_side = -(-n // array.neurons)
    columns = array.columns_per_weight * n + (0 if array.pairs else side_by_side)
    steps = driven = longest = 0.0
    for top in range(0, n_pre, array.rows):
        mine = 0.0
        for start in range(top, min(top + array.rows, n_pre), array.rows_at_once):
            rows = min(array.rows_at_once, n_pre - start)
            mine += 2 * float((1 - (1 - drives) ** rows).sum())
            driven += 2 * rows * float(drives.sum())
        steps, longest = steps + mine, max(longest, mine)
    return np.array(
        [driven * side_by_side, steps * side_by_side, steps * columns, longest * array.step_ps]
    )

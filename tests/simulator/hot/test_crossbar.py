"""The engine's crossbar tile does, step by step, what the oracle adds up."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit

from hw_models.array import Array
from kernels.crossbar import cells, read
from simulator.crossbar import constants
from simulator.hot import state as h
from simulator.hot.crossbar import close_arrays

BEFORE = 11
"""Entries of other tiles before this one's, in every array: offsets matter."""


@njit
def close(reg, row, a, cell, mantissa, counts, scratch, counted, unary, limit, task, token):
    return close_arrays(
        reg, row, a, cell, mantissa, counts, scratch, counted, unary, limit, task, token
    )


def closed(q, mantissa, counts, coding, array, limit=2**62):
    """(P, picoseconds, counters, registers) of one tile."""
    n, n_pre = q.shape
    groups, columns, blocks = -(-n_pre // 128), array.columns_per_weight, 128 // array.rows_at_once
    held = cells(q, array, 2, 40, 256)
    before, flips_before = BEFORE * columns, BEFORE * columns * blocks
    flip = held.flip.transpose(2, 0, 1).ravel()
    everything = np.concatenate(
        [np.zeros(before), held.level.transpose(2, 0, 1).ravel(), np.zeros(flips_before), flip]
    ).astype(np.uint16)
    row = np.zeros(h.N_TASK, np.int64)
    row[[h.NEURON_N, h.N_PRE, h.GROUPS, h.WEIGHT, h.MANTISSA]] = n, n_pre, groups, BEFORE, BEFORE
    m = np.concatenate([np.zeros(BEFORE), mantissa.T.ravel()]).astype(np.int64)
    scratch = np.full(n * (3 + columns) + 5, -(2**40), np.int64)
    counted, reg = np.zeros(h.N_PROGRESS, np.int64), np.zeros(h.N_REGISTERS, np.int64)
    a = constants(array, before + held.level.size)
    counts = counts.copy()
    unary = coding == "ternary"
    ps = close(reg, row, a, everything, m, counts, scratch, counted, unary, limit, 6, 1)
    assert not counts.any(), "the next token finds no counts"
    return scratch[:n], ps, counted, reg


def some(seed, n, n_pre, most):
    rng = np.random.default_rng(seed)
    q = rng.integers(-127, 128, (n, n_pre)).astype(np.int8)
    counts = (rng.integers(-most, most + 1, n_pre) * (rng.random(n_pre) < 0.6)).astype(np.int32)
    return q, counts, rng.integers(1, 32768, (n, -(-n_pre // 128)))


def array(**changed):
    usual = dict(
        rows=128, columns=96, rows_at_once=128, per_core=4, encoding="pairs", bits_per_cell=2,
        dac_bits=1, adc_bits=0, adc_step=1, columns_per_adc=8, cycle_ps=100, convert_ps=13,
        noise=0.0, seed=0,
    )  # fmt: skip
    return Array(**usual | changed)


@settings(max_examples=40, deadline=None)
@given(
    encoding=st.sampled_from(["pairs", "offset"]),
    bits=st.integers(1, 8),
    dac=st.integers(1, 8),
    shape=st.sampled_from([(128, 128), (256, 128), (128, 32), (32, 32), (384, 64)]),
    adc=st.sampled_from([(0, 1), (4, 1), (6, 3), (8, 1), (12, 60)]),
    noise=st.sampled_from([0.0, 0.03]),
    coding=st.sampled_from(["ternary", "bitwise", "graded"]),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 30),
    n_pre=st.integers(1, 400),
    most=st.sampled_from([1, 9, 200, 32767]),
)
def test_a_closed_tile_is_the_oracles_reading(
    encoding, bits, dac, shape, adc, noise, coding, seed, n, n_pre, most
):
    assume(coding != "ternary" or most < 300)
    chosen = array(
        encoding=encoding, bits_per_cell=bits, dac_bits=dac, rows=shape[0],
        rows_at_once=shape[1], adc_bits=adc[0], adc_step=adc[1], noise=noise,
    )  # fmt: skip
    q, counts, mantissa = some(seed, n, n_pre, most)
    found, _, counted, reg = closed(q, mantissa, counts, coding, chosen)
    wanted = read(counts, coding, cells(q, chosen, 2, 40, 256), chosen)
    assert reg[h.R_ERROR] == 0
    assert found.tolist() == (wanted.sums * mantissa).sum(1).tolist()
    done = [int(counted[c]) for c in (h.DRIVEN, h.READS, h.CONVERTED, h.CLIPPED)]
    assert done == [wanted.driven, wanted.reads, wanted.conversions, wanted.clipped]


def test_blocks_of_one_array_take_turns_and_arrays_do_not():
    """Counts 3 in the first 64 rows: 2 steps; -1 in the next: 1; 4 in the last 128: 1 and 1."""
    counts = np.repeat([3, -1, 4, 4], 64).astype(np.int32)
    q, _, mantissa = some(0, 5, 256, 1)
    for rows, steps in ((256, 2 + 1 + 1 + 1), (128, 2 + 1), (64, 2)):
        chosen = array(rows=rows, rows_at_once=64)
        _, ps, _, _ = closed(q, mantissa, counts, "bitwise", chosen)
        assert ps == steps * 8 * 13, rows
    slow_rows = array(rows=256, rows_at_once=64, cycle_ps=1000)
    assert closed(q, mantissa, counts, "bitwise", slow_rows)[1] == 5 * 1000


def test_sums_too_wide_are_errors_that_name_task_token_and_neuron():
    q, counts = np.full((2, 128), 127, np.int8), np.full(128, 2**18, np.int32)
    q[0] = 0
    _, _, _, reg = closed(q, np.ones((2, 1)), counts, "graded", array())
    assert reg[[h.R_ERROR, h.R_E1, h.R_E2, h.R_E3]].tolist() == [h.E_ACCUMULATOR, 6, 1, 1]
    assert reg[h.R_E4] == 127 * 128 * 2**18
    small = np.ones(128, np.int32)
    _, _, _, reg = closed(q, np.full((2, 1), 10), small, "graded", array(), limit=127 * 1280)
    assert reg[[h.R_ERROR, h.R_E3, h.R_E4]].tolist() == [h.E_PARTIAL, 1, 127 * 1280]
    _, _, _, reg = closed(q, np.full((2, 1), 10), small, "graded", array(), limit=127 * 1280 + 1)
    assert reg[h.R_ERROR] == 0


def test_the_ones_of_arrays_side_by_side_clip_together():
    """Weights of -128 + 128 = 0 hold nothing: of 30 neurons, 24 to an array, only ones clip."""
    chosen = array(encoding="offset", adc_bits=6)
    q = np.full((30, 128), -128, np.int8)
    mantissa = np.ones((30, 1))
    _, _, counted, _ = closed(q, mantissa, np.ones(128, np.int32), "bitwise", chosen)
    assert counted[[h.READS, h.CONVERTED, h.CLIPPED]].tolist() == [2, 30 * 4 + 2, 2]

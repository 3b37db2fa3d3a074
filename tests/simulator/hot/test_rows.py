"""Rows added eight at a time, in 16 bits where they fit, are the integer matrix product."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from simulator.hot import rows


@njit
def tile_sums(sums, scratch, weight, mantissa, counts):
    rows.tile_sums(sums, scratch, weight, mantissa, counts)


@njit
def beyond(sums, weight, counts):
    return rows.beyond(sums, weight, counts)


def found(q, mantissa, counts):
    """P of one tile: q int8[n_pre, n], mantissa [groups, n], counts [n_pre]."""
    n = q.shape[1]
    sums = np.full(n, -7)
    scratch = np.full(rows.scratch_size(n), -(2**61))
    m = mantissa.astype(np.int16).reshape(-1)
    tile_sums(sums, scratch, q.reshape(-1), m, counts.astype(np.int32))
    return sums


def spike_by_spike(q, mantissa, counts):
    """The accumulators of a core to which each unit of each count comes by itself; then P."""
    held = np.zeros((mantissa.shape[0], q.shape[1]), np.int64)
    for axon, count in enumerate(counts.tolist()):
        for _ in range(abs(count)):
            held[axon // 128] += (1 if count > 0 else -1) * q[axon]
    return (held * mantissa).sum(0)


def product(q, mantissa, counts):
    """The same in one line per group, for counts of any size: Python's integers."""
    total = 0
    for group, m in enumerate(mantissa.astype(object)):
        own = slice(128 * group, 128 * group + 128)
        total = total + m * (counts[own].astype(object) @ q[own].astype(object))
    return total


def some(seed, n_pre, n, most, active=0.7):
    rng = np.random.default_rng(seed)
    q = rng.choice([-127, 127, *range(-127, 128)], (n_pre, n)).astype(np.int8)
    counts = rng.integers(-most, most + 1, n_pre) * (rng.random(n_pre) < active)
    return q, rng.integers(1, 32768, (-(-n_pre // 128), n)), counts


@given(
    seed=st.integers(0, 2**32 - 1),
    n_pre=st.integers(1, 300),
    n=st.integers(1, 70),
    most=st.sampled_from([1, 2, 7, 16]),
)
@settings(max_examples=40, deadline=None)
def test_a_row_pass_per_count_is_a_row_pass_per_spike(seed, n_pre, n, most):
    tile = some(seed, n_pre, n, most)
    assert found(*tile).tolist() == spike_by_spike(*tile).tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    n_pre=st.integers(1, 300),
    n=st.integers(1, 70),
    most=st.sampled_from([1, 7, 31, 32, 33, 257, 258, 259, 32767, 40000, 2**17]),
    active=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
@example(seed=0, n_pre=128, n=33, most=2**17, active=1.0)
@settings(max_examples=150, deadline=None)
def test_sums_are_exact_whatever_counts_16_bits_hold(seed, n_pre, n, most, active):
    tile = some(seed, n_pre, n, most, active)
    assert found(*tile).tolist() == product(*tile).tolist()


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("size", [1, 2, 32, 33, 258, 259, 2**17])
def test_the_largest_sums_there_are(size, sign):
    """Every weight and count as large as it can be, up to an accumulator's last value but few."""
    q = np.full((256, 17), 127 * sign, np.int8)
    counts = np.full(256, size)
    assert 128 * 127 * size < 2**31
    p = 32767 * 127 * sign * 256 * size
    assert found(q, np.full((2, 17), 32767), counts).tolist() == [p] * 17


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("total", [257, 258, 259, 260])
def test_16_bits_hold_258_times_127_and_not_one_more(total, sign):
    """At once in eight rows, or in three times eight."""
    q, m = np.full((24, 17), 127 * sign, np.int8), np.full((1, 17), 3)
    for counts in ([total - 7] + [1] * 7 + [0] * 16, [16] * 16 + [total - 256] + [0] * 7):
        assert found(q, m, np.array(counts)).tolist() == [3 * 127 * sign * total] * 17


def test_a_count_beyond_what_one_row_of_16_bits_holds_beside_small_ones():
    q, m, counts = some(1, 128, 40, 3)
    counts[[5, 77]] = 2**20, -(2**20)
    assert found(q, m, counts).tolist() == product(q, m, counts).tolist()


@pytest.mark.parametrize("n", [rows.COLUMNS - 1, rows.COLUMNS, 2 * rows.COLUMNS + 3])
def test_wide_tiles_are_cut_into_blocks_of_neurons(n):
    tile = some(2, 140, n, 300)
    assert found(*tile).tolist() == product(*tile).tolist()


def test_an_accumulator_holds_int32_and_not_one_more():
    """127 x 16,909,320 + 7 = 2^31 - 1; the negative end is one further."""
    q = np.array([[0, 127], [0, 7]], np.int8)
    fits, sums = np.array([16_909_320, 1], np.int32), np.zeros(2, np.int64)
    assert beyond(sums, q.reshape(-1), fits) == (-1, 0)
    assert beyond(sums, -q.reshape(-1), fits) == (-1, 0)
    q[1, 1] = 8
    assert beyond(sums, -q.reshape(-1), fits) == (-1, 0)
    assert beyond(sums, q.reshape(-1), fits) == (1, 2**31)
    q[1, 1] = 9
    assert beyond(sums, -q.reshape(-1), fits) == (1, -(2**31) - 1)


def tiles_of(n_pre, n_post, width, height):
    """(table, weights, mantissas) of random tiles that cover a linear."""
    rng = np.random.default_rng(n_pre)
    table, weight, mantissa, at, m = [], [], [], 0, 0
    for lo in range(0, n_pre, width):
        for first in range(0, n_post, height):
            q, own, _ = some(
                rng.integers(2**32), min(width, n_pre - lo), min(height, n_post - first), 1
            )
            table.append((lo, *q.shape[:1], first, q.shape[1], at, m))
            weight.append(q.ravel())
            mantissa.append(own.ravel())
            at, m = at + q.size, m + own.size
    return np.array(table), np.concatenate(weight), np.concatenate(mantissa).astype(np.int16)


def test_a_linears_sums_are_its_tiles_products_whatever_the_threads(root):
    """In a process that has four threads, whatever the machine has."""
    code = "from tests.simulator.hot.test_rows import compare_linears as compare; compare()"
    environment = os.environ | {"NUMBA_NUM_THREADS": "4", "OMP_NUM_THREADS": "4"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)


def compare_linears():
    for width, height in ((128, 13), (256, 500), (512, 64)):
        for threads in (1, 2, 4):
            compare_linear(threads, width, height)


def compare_linear(threads, width, height):
    numba.set_num_threads(threads)
    n_pre, n_post = 700, 501
    table, weight, mantissa = tiles_of(n_pre, n_post, width, height)
    counts = some(5, n_pre, 1, 400)[2].astype(np.int32)
    wanted, y = np.zeros(n_post, object), np.full(n_post, 9)
    for lo, pre, first, n, at, m in table.tolist():
        q = weight[at : at + pre * n].reshape(pre, n)
        own = mantissa[m : m + -(-pre // 128) * n].reshape(-1, n)
        wanted[first : first + n] += product(q, own, counts[lo : lo + pre])
    rows.linear_sums(y, table, weight, mantissa, counts)
    assert y.tolist() == wanted.tolist()

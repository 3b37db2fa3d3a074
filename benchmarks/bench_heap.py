"""The event heap at a steady size: take the earliest event, insert a later one."""

import numpy as np
import pytest
from numba import njit

from simulator.hot.heap import pop, push

PAIRS = 10_000


@njit
def hold(heap, later):
    """Pop and push once per entry of int64[n] later: what an event that causes one more does."""
    n = heap.shape[0]
    for delay in later:
        time, tie, what = heap[0, 0], heap[0, 1], heap[0, 2]
        pop(heap, n)
        push(heap, n - 1, time + delay, tie, what)


@pytest.mark.parametrize("n", [16, 1024, 65536])
def test_pop_and_push(benchmark, n):
    rng = np.random.default_rng(0)
    heap = np.zeros((n, 3), np.int64)
    for i, time in enumerate(rng.integers(0, 1_000_000, n)):
        push(heap, i, time, i, i)
    later = rng.integers(0, 1_000_000, PAIRS)
    hold(heap, later)  # compile outside the clock
    benchmark.extra_info["pairs"] = PAIRS
    benchmark(hold, heap, later)
    children = heap[1:], heap[(np.arange(1, n) - 1) // 2]
    assert (children[0][:, 0] >= children[1][:, 0]).all()

"""Adding a spike's row of synapses to the accumulators of a tile."""

import numpy as np
import pytest
from numba import njit

from simulator.hot.engine import integrate

ROWS = 512


@njit
def spikes(accumulator, weight, drive):
    """One spike on every axon: int32[n], int8[ROWS, n], int64[ROWS]."""
    for axon in range(drive.size):
        integrate(accumulator, weight[axon], drive[axon])


@pytest.mark.parametrize("n", [1, 64, 256, 512])
def test_one_spike_on_every_axon(benchmark, n):
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (ROWS, n), dtype=np.int8)
    drive = rng.choice([-2, -1, 1, 2, 4], ROWS)
    accumulator = np.zeros(n, np.int32)
    spikes(accumulator, weight, drive)  # compile outside the clock
    assert (accumulator == drive @ weight).all()
    benchmark.extra_info["synops"] = ROWS * n
    benchmark(spikes, accumulator, weight, drive)

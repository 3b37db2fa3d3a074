"""Threshold and counts of one vector."""

import numpy as np
import pytest

from simulator.hot.encode import OK, absmax16_count, mean_abs_count


@pytest.mark.parametrize("n", [256, 896, 18_944])
def test_mean_abs(benchmark, n):
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    counts = np.empty(n, np.int32)
    v_th, status = mean_abs_count(x, 3.0, counts)  # compile outside the clock
    assert status == OK and (counts == np.rint(x / np.float32(v_th))).all()
    benchmark(mean_abs_count, x, 3.0, counts)


@pytest.mark.parametrize("n", [256, 3584])
def test_absmax16(benchmark, n):
    x = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    counts = np.empty(n, np.int32)
    assert absmax16_count(x, counts)[1] == OK
    assert abs(counts).max() == 32767
    benchmark(absmax16_count, x, counts)

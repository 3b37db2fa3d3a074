"""A tile's sums of one token from the counts of its inputs."""

import numpy as np
import pytest
from numba import njit

from simulator.hot.rows import GROUP, scratch_size, tile_sums


@njit
def close(sums, scratch, weight, mantissa, counts):
    tile_sums(sums, scratch, weight, mantissa, counts)


@pytest.mark.parametrize("most", [1, 7, 32767])
@pytest.mark.parametrize(("n_pre", "n"), [(128, 64), (256, 448), (1024, 1024)])
def test_four_fifths_of_the_inputs_count(benchmark, n_pre, n, most):
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (n_pre, n), dtype=np.int8)
    mantissa = rng.integers(1, 32768, (n_pre // GROUP, n), dtype=np.int16)
    size = rng.integers(1, most + 1, n_pre) * (rng.random(n_pre) < 0.82)
    counts = (size * rng.choice([-1, 1], n_pre)).astype(np.int32)
    sums, scratch = np.zeros(n, np.int64), np.zeros(scratch_size(n), np.int64)
    arrays = sums, scratch, weight.reshape(-1), mantissa.reshape(-1), counts
    close(*arrays)  # compile outside the clock
    groups = (counts[:, None] * weight.astype(np.int64)).reshape(-1, GROUP, n).sum(1)
    assert (sums == (mantissa * groups).sum(0)).all()
    benchmark.extra_info["synops"] = int((counts != 0).sum()) * n
    benchmark(close, *arrays)

"""One token of gated linear attention: decays that wait, against a state that is touched whole."""

import numpy as np
import pytest
import torch

from kernels.gla import decay_step, read_out
from simulator.hot.lazy import lazy_update

SIZES = [(8, 32), (28, 128)]  # heads and their channels: the byte language model, SpikingBrain-7B


def operands(heads, d):
    """q, k, v and decays; three of four queries and keys are zero."""
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, heads, d)).astype(np.float32)
    q, k = (np.maximum(a, 0) * (rng.random(a.shape) > 0.5) for a in (q, k))
    return q.astype(np.float32), k.astype(np.float32), v, rng.uniform(0.9, 1, (heads, d))


@pytest.mark.parametrize(("heads", "d"), SIZES)
def test_touched_whole(benchmark, heads, d):
    torch.set_num_threads(1)
    q, k, v, decay = (torch.tensor(a, dtype=torch.float32) for a in operands(heads, d))
    benchmark(decay_step, torch.zeros(heads, d, d), q, k, v, decay)


@pytest.mark.parametrize(("heads", "d"), SIZES)
def test_pending(benchmark, heads, d):
    torch.set_num_threads(1)
    q, k, v, decay = (a.astype(np.float32) for a in operands(heads, d))
    state, late = np.zeros((heads, d, d), np.float32), np.zeros((heads, d, 8), np.float32)
    n_late, tally = np.zeros((heads, d), np.int64), np.zeros(4, np.int64)

    def token():
        lazy_update(state, late, n_late, q, k, v, decay, tally)
        return read_out(torch.from_numpy(state), torch.from_numpy(q))

    token()  # compile outside the clock
    benchmark(token)

"""What the benchmark of closed tiles measures is right, and is measured for every contestant."""

import numpy as np
import pytest

from benchmarks import closed
from simulator import adders
from simulator.hot import state as h


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_summed_right_with_and_without_helpers(threads, monkeypatch):
    monkeypatch.setattr(adders, "threads", lambda: threads)
    fixed, state = closed.batch_of(tiles=3, tokens=2, batches=2)
    closed.close(state, 3, 3)
    with adders.helpers() as pool:
        adders.add_up(fixed, state, pool)
    q = fixed.weight.reshape(6, closed.N_PRE, closed.N).astype(np.int64)
    m = fixed.mantissa.reshape(6, -1, closed.N).astype(np.int64)
    for i, counts in enumerate(state.closed_counts.astype(np.int64)):
        tile = 3 + i % 3
        groups = (counts[:, None] * q[tile]).reshape(-1, 128, closed.N).sum(1)
        wanted = (m[tile] * groups).sum(0)
        own = state.message[i * 32 : i * 32 + 32, h.M_STORE]
        assert state.values[own].reshape(-1).tolist() == wanted.tolist()
    assert not state.reg.any()


def test_a_rate_for_every_contestant():
    found = closed.measure(rounds=1, tiles=2, batches=2)
    assert len(found) == 3 * len({1, adders.threads()})
    assert all(rate > 0 for rate in found.values())

"""A link is a queue: with Poisson arrivals and one size of message it waits as M/D/1 says.

Mean wait W = rho D / (2 (1 - rho)) and share of messages that wait for nobody 1 - rho, for D ps of
service and a load of rho (Pollaczek 1930, Khinchin 1932; Kleinrock, Queueing Systems I, 1975, 5.6).
"""

import numpy as np
import pytest
from numba import njit

from simulator.drive import Simulation
from simulator.growth import enlarged
from simulator.hot import state as h
from simulator.hot.engine import run
from simulator.hot.fire import inject
from tests.timing.story import SPIKE_BITS, X, chip, layer

FLIT = 1000  # ps on the link that is measured; its messages have five flits
SERVICE = 5 * FLIT
CHUNK = 100_000
BITS = 20 + SPIKE_BITS


@njit
def offer(f, s, times, task, tree):
    """Spikes of payload 0 leave their source at these times, on a link that is all but free."""
    for time in times:
        inject(f, s, time, task, tree, h.SPIKE, 0, BITS, h.ONE, h.ZERO, h.ZERO, h.NONE)


def waits(load, messages, seed):
    """ps that each message waits for the link east, in the order in which they are served."""
    fast = {"link__local__flit_ps": "1 ps", "link__local__hop_ps": "1 ps"}
    on = chip(link__x__flit_ps=f"{FLIT} ps", **fast)
    program = layer([(3,)])._program(on)
    rows = []
    simulation = Simulation(program, trace=rows.append)
    task = program.task_names.index("encoder 0")
    tree = int(program.tables.emit_tree[program.tables.task_emit[task]])
    rng = np.random.default_rng(seed)
    last, found = 0.0, []
    while messages:
        n = min(CHUNK, messages)
        exact = last + np.cumsum(rng.exponential(SERVICE / load, n))
        last, times = exact[-1], exact.astype(np.int64)
        while simulation.state.reg[h.R_FREE] < n + 1000:
            simulation.state = enlarged(simulation.state)
        offer(simulation.fixed, simulation.state, times, task, tree)
        while (why := run(simulation.fixed, simulation.state, 64, 1 << 40)) != h.EMPTY:
            assert why == h.TRACE_FULL
            simulation.flush_trace()
        simulation.flush_trace()
        served = np.concatenate(rows)
        served = served[served[:, 2] == h.T_SERVE, 0]
        rows.clear()
        assert served.size == n
        stood = times + 1 + 2 * 1  # at the router behind the injection link: three flits
        found.append(served - stood - X.hop - 4 * FLIT)
        messages -= n
    return np.concatenate(found)


@pytest.mark.parametrize(("load", "messages"), [(0.3, 2_000_000), (0.8, 3_000_000)])
def test_the_mean_wait_is_that_of_m_d_1(load, messages):
    found = waits(load, messages, seed=5)
    assert found.min() >= 0
    wanted = load * SERVICE / (2 * (1 - load))
    assert found.mean() == pytest.approx(wanted, rel=0.01)
    # a message that arrives within the 2 ps by which the injection link delays a close follower
    # waits for it there
    assert np.mean(found == 0) == pytest.approx(1 - load, rel=0.01)

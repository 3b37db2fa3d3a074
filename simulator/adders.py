"""Sum tiles that have closed (simulator/hot/closed.py), with as many threads as NUMBA_NUM_THREADS.

The thread of the run takes tile after tile, and so do helpers as soon as they get a core: nobody
waits for one that has not begun, and none spins while there is nothing to do.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from simulator.hot import state as hot
from simulator.hot.closed import settled, sum_some
from simulator.hot.state import Fixed, State


def threads() -> int:
    """As many as numba may use: NUMBA_NUM_THREADS, or the cores there are."""
    return int(numba.config.NUMBA_NUM_THREADS)


def helpers() -> ThreadPoolExecutor:
    """All threads but one's own. They begin when they are first needed, and sleep in between."""
    return ThreadPoolExecutor(max(1, threads() - 1))


def add_up(fixed: Fixed, state: State, pool: ThreadPoolExecutor | None = None) -> None:
    """Sum all tiles that have closed, with the pool's help where that is worth its while.

    Tokens of one tile come one after another, so that its weights come from memory once.
    """
    reg = state.reg
    if not reg[hot.R_CLOSED]:
        return
    work = (
        *(fixed.task, fixed.linear, fixed.weight, fixed.mantissa),
        (fixed.list_first, fixed.list_neuron, fixed.list_value),
        *(state.message, state.values, state.closed, state.closed_counts, state.owed),
        np.argsort(state.closed[: reg[hot.R_CLOSED], hot.C_TASK], kind="stable"),
        *(np.zeros(1, np.int64), state.row_sums.size),
    )
    others = []
    if pool is not None and reg[hot.R_SYNAPSES] >= fixed.service[hot.TOGETHER]:
        others = [pool.submit(sum_some, *work) for _ in range(threads() - 1)]
    sum_some(*work)
    for other in others:
        if not other.cancel():
            other.result()
    settled(reg, state.closed)

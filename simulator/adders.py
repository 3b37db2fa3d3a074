"""Sum tiles that have closed (simulator/hot/closed.py), with helpers where that is worth it."""

import numpy as np

from simulator.helpers import Helpers
from simulator.hot import state as hot
from simulator.hot.closed import settled, sum_some
from simulator.hot.state import Fixed, State

PARTS = 8
"""Of all tiles: the last ones to be taken are small beside the whole."""


def add_up(fixed: Fixed, state: State, helpers: Helpers) -> None:
    """Sum all tiles that have closed.

    Tokens of one tile come one after another, so that its weights come from memory once.
    """
    reg = state.reg
    closed = int(reg[hot.R_CLOSED])
    if not closed:
        return
    order = np.argsort(state.closed[:closed, hot.C_TASK], kind="stable")
    bounds = np.linspace(0, closed, min(closed, PARTS) + 1).astype(np.int64)

    def work(part: int) -> None:
        sum_some(
            *(fixed.task, fixed.linear, fixed.weight, fixed.mantissa),
            (fixed.list_first, fixed.list_neuron, fixed.list_value),
            *(state.message, state.values, state.closed, state.closed_counts, state.owed),
            *(order[bounds[part] : bounds[part + 1]], np.empty(state.row_sums.size, np.int64)),
        )

    worth = bool(reg[hot.R_SYNAPSES] >= fixed.service[hot.TOGETHER])
    helpers.share(work, bounds.size - 1, worth)
    settled(reg, state.closed)

"""What cores did in steps of the chip, as the rows of a trace (hot.state.TRACE_COLUMNS).

What one step of the network causes has its number for a token, whatever step of the chip it is in.
Neurons that have nothing of a step to do yet, or no more, update all the same, and have no row.
"""

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import tree_facts
from compiler.audit.trees import tree_of_sink
from compiler.program import Program
from simulator.hot import contention as hot
from simulator.hot.contention import Watched
from simulator.hot.state import T_FIRE, T_INJECT, T_SERVE
from simulator.routes import Roads

I64 = NDArray[np.int64]


def step_rows(
    program: Program,
    roads: Roads,
    steps: range,
    begins: I64,
    n_tokens: int,
    fired: I64,
    watched: Watched,
) -> I64:
    """int64[n, 8] of steps of the chip that begin then.

    n_tokens: steps of the network so far; fired: int64[step, sender].
    """
    kind = tree_facts(program).message
    found = [np.zeros((0, 8), np.int64)]
    for row, step in enumerate(steps):
        begin, tokens = int(begins[row]), step - roads.senders.lag
        found.append(_updates(roads, begin, tokens, n_tokens, fired[row]))
        left = watched.left[watched.sent[row] : watched.sent[row + 1]]
        served = watched.served[watched.taken[row] : watched.taken[row + 1]]
        found.append(_messages(program, roads, kind, begin, tokens, fired[row], left, served))
    return np.concatenate(found)


def _rows(*columns: NDArray[np.integer] | int) -> I64:
    return np.stack(np.broadcast_arrays(*columns), axis=1).astype(np.int64)


def _updates(roads: Roads, begin: int, tokens: I64, n_tokens: int, fired: I64) -> I64:
    """Every part of a population, and every sum, when it is its turn on its core."""
    senders, part = roads.senders, roads.routes.part
    duration = part[:, hot.P_ACCESS] * senders.n + part[:, hot.P_FIRE] * fired
    order = np.argsort(part[:, hot.P_CORE], kind="stable")
    core = part[order, hot.P_CORE]
    before = np.cumsum(duration[order]) - duration[order]
    start = np.empty_like(before)
    start[order] = before - before[np.searchsorted(core, core)]
    shown = (senders.task >= 0) & (tokens >= 0) & (tokens < n_tokens)
    return _rows(
        begin + start[shown], duration[shown], T_FIRE, senders.core[shown], senders.task[shown],
        tokens[shown], -1, 0,
    )  # fmt: skip


def _messages(
    program: Program,
    roads: Roads,
    kind: I64,
    begin: int,
    tokens: I64,
    fired: I64,
    left: I64,
    served: I64,
) -> I64:
    """What leaves, and what is taken in."""
    t, senders, way = program.tables, roads.senders, roads.routes.way
    held = roads.routes.kind[way[:, hot.W_KIND], hot.M_HELD]
    sender = np.repeat(np.arange(fired.size), fired * np.diff(senders.begin))
    ways = np.concatenate(
        [np.zeros(0, np.int64)]
        + [np.tile(np.arange(*senders.begin[s : s + 2]), fired[s]) for s in np.flatnonzero(fired)]
    )
    tree = senders.tree[ways]
    copies = np.bincount(tree_of_sink(t), minlength=t.tree_root.size)[tree]
    about = senders.core[sender], t.tree_task[tree], tokens[sender], kind[tree]
    local = (t.tree_last_local - t.tree_first_local)[tree]
    here, away = np.flatnonzero(local), np.flatnonzero(way[ways, hot.W_TREE] >= 0)
    held = held[ways[away]]
    start = _in_turn(way[ways[away], hot.W_LINK], left[away], held)
    message, number, since, duration = served.T
    sink = roads.sink[number]
    return np.concatenate([
        _rows(begin + left[here], 0, T_INJECT, *(x[here] for x in about), local[here]),
        _rows(begin + start, held, T_INJECT, *(x[away] for x in about), (copies - local)[away]),
        _rows(
            begin + since, duration, T_SERVE, t.sink_core[sink], t.sink_task[sink],
            tokens[sender[message]], kind[tree[message]], 1,
        ),
    ])  # fmt: skip


def _in_turn(link: I64, ready: I64, held: I64) -> I64:
    """When each message has its own core's link, which takes them as they come: ready rises."""
    start = np.empty_like(ready)
    for one in np.unique(link):
        own = np.flatnonzero(link == one)
        before = np.cumsum(held[own]) - held[own]
        start[own] = before + np.maximum.accumulate(ready[own] - before)
    return start

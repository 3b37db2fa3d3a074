"""What must hold of engine arrays that come from a file before the event engine may read them.

The engine sees bare arrays: an index out of range would read other memory, a chain of parked
messages that bites its tail would never end. A hash says that a file is as it was written, not
that this simulator wrote it. Values (times, sums, counts) may be anything: they are the run's own.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hw_models.errors import BadInput
from hw_models.events import MESSAGES
from simulator.hot import state as h
from simulator.hot.state import Fixed, State

ROOMS: Final = (
    *("heap", "wave", "due", "message", "message_free", "values", "values_free"),
    *("parked", "parked_free"),
)
"""Arrays that simulator.machine.enlarged lets grow, all to the same number of rows."""

TURNS: Final = ("turn", "token_at")
"""Those that simulator.machine.remembering lets grow, to the same number of columns."""


def check_state(fixed: Fixed, state: State, fresh: State, started: int) -> None:
    """BadInput that names the array; `fresh` is the state of a simulation that begins."""
    _check_shapes(state, fresh)
    room = state.heap.shape[0]
    reg = state.reg
    _hold("reg", 0 <= reg[h.R_HEAP] <= room)
    for register in (h.R_FREE, h.R_FREE_VALUES, h.R_FREE_PARKED):
        _hold("reg", 0 <= reg[register] <= room)
    _hold("reg", reg[h.R_READY] == reg[h.R_TRACE] == reg[h.R_ERROR] == 0)
    _hold("reg", reg[h.R_STARTED] == started >= 0)
    used, stores = _used(state, room)
    _check_messages(fixed, state, used, stores, started)
    _check_events(fixed, state, used)
    _check_waves(fixed, state, used)
    _check_parked(fixed, state, used)
    _check_progress(state, fresh, started)
    _check_turns(state, started)


def _hold(array: str, *rules: ArrayLike) -> None:
    if not all(np.all(rule) for rule in rules):
        raise BadInput("holds what the engine cannot have written", where=f"engine array {array}")


def _check_shapes(state: State, fresh: State) -> None:
    """Types and shapes of a beginning, but for rooms that have grown: all by the same factor."""
    room, first = state.heap.shape[0], fresh.heap.shape[0]
    _hold("heap", room % first == 0, room >= first)
    for name in fresh._fields:
        found, wanted = getattr(state, name), getattr(fresh, name)
        _hold(name, isinstance(found, np.ndarray))
        shape = wanted.shape
        if name in ROOMS:
            shape = (room, *shape[1:])
        elif name in TURNS:
            shape = (shape[0], max(shape[1], state.turn.shape[-1]))
        _hold(name, found.dtype == wanted.dtype, found.shape == shape)


def _used(state: State, room: int) -> tuple[np.ndarray, np.ndarray]:
    """bool[room] each: message records, and rows of values, that are not free."""
    found = []
    for name, register in (
        ("message_free", h.R_FREE),
        ("values_free", h.R_FREE_VALUES),
        ("parked_free", h.R_FREE_PARKED),
    ):
        free = getattr(state, name)[: state.reg[register]]
        _hold(name, free >= 0, free < room, np.unique(free).size == free.size)
        used = np.ones(room, bool)
        used[free] = False
        found.append(used)
    return found[0], found[1]


def _check_messages(
    fixed: Fixed, state: State, used: np.ndarray, stores: np.ndarray, started: int
) -> None:
    rows = state.message[used]
    tree, kind, token = rows[:, h.M_TREE], rows[:, h.M_CLASS], rows[:, h.M_TOKEN]
    _hold("message", tree >= 0, tree < len(fixed.tree), kind >= 0, kind < len(MESSAGES))
    _hold("message", token >= 0, token < started, rows[:, h.M_TIMES] >= 0, rows[:, h.M_REFS] > 0)
    value, store = rows[:, h.M_VALUE], rows[:, h.M_STORE]
    sums = (kind == h.PARTIAL) & bool(fixed.service[h.VALUES])  # counts alone leave none
    _hold("message", (store >= 0) == sums, store < len(stores), stores[store[sums]])
    _hold("message", np.unique(store[sums]).size == sums.sum() == stores.sum())
    _hold("message", value[sums] >= 0, value[sums] <= state.values.shape[1])
    # a core serves values by their number, and looks axons and neurons up by its own ranges
    _hold("message", value[(kind == h.VALUE) | (kind == h.MARKER)] >= 0)
    _hold("message", np.abs(rows[:, h.M_INDEX]) < 1 << 31)


def _check_events(fixed: Fixed, state: State, used: np.ndarray) -> None:
    """Every event is about a node, a sink or a task, and a message that is under way."""
    what = state.heap[: state.reg[h.R_HEAP], 2]
    kind, index, m = what >> h.KIND_SHIFT, (what >> h.INDEX_SHIFT) & h.MASK, what & h.MASK
    most = np.array([len(fixed.node), len(fixed.sink), len(fixed.task), len(fixed.task)])
    _hold("heap", what >= 0, kind < len(most))
    _hold("heap", index < most[kind])
    moves = kind <= h.ARRIVE
    _hold("heap", m[moves] < used.size)
    _hold("heap", used[m[moves]])


def _check_waves(fixed: Fixed, state: State, used: np.ndarray) -> None:
    """Messages of a step go from their own trees' roots, and are taken in once."""
    reg, room = state.reg, used.size
    _hold("reg", 0 <= reg[h.R_WAVE] <= room, 0 <= reg[h.R_TAKEN] <= reg[h.R_DUE] <= room)
    _hold("reg", fixed.service[h.WAVES] or reg[h.R_WAVE] == reg[h.R_DUE] == 0)
    wave, due = state.wave[: reg[h.R_WAVE]], state.due[reg[h.R_TAKEN] : reg[h.R_DUE]]
    for name, m in (("wave", wave[:, h.W_MESSAGE]), ("due", due[:, 1])):
        _hold(name, m >= 0, m < room, np.unique(m).size == m.size)
        _hold(name, used[m])
    tree = state.message[wave[:, h.W_MESSAGE], h.M_TREE]
    _hold("wave", wave[:, h.W_NODE] == fixed.tree[tree, h.ROOT])


def _check_parked(fixed: Fixed, state: State, used: np.ndarray) -> None:
    """Side queues end, and hold every entry that is not free exactly once."""
    room = state.parked.shape[0]
    ends = state.queue.reshape(-1, 2)
    _hold("queue", ends >= -1, ends < room)
    reached = np.zeros(room, bool)
    reached[state.parked_free[: state.reg[h.R_FREE_PARKED]]] = True
    for first, last in ends[ends[:, 0] >= 0].tolist():
        entry = first
        while entry >= 0:
            _hold("parked", entry < room)
            _hold("parked", not reached[entry])
            reached[entry] = True
            message, sink, following = state.parked[entry].tolist()
            _hold("parked", 0 <= message < room, 0 <= sink < len(fixed.sink))
            _hold("parked", used[message], following >= 0 or entry == last)
            entry = following
    _hold("parked", reached)


def _check_progress(state: State, fresh: State, started: int) -> None:
    """Tasks are at tokens that have begun; those of tokens to come wait for their first."""
    following, done = state.progress[:, h.NEXT], state.progress[:, h.DONE]
    _hold("progress", done >= 0, done <= following)
    _hold("progress", following <= np.maximum(fresh.progress[:, h.NEXT], started))
    _hold("progress", state.progress[:, h.SYMBOL] >= h.ALL)
    _hold("stage_token", state.stage_token < max(1, started))
    _hold("stage_left", state.stage_left >= 0, state.stage_left <= state.stage_all[:, None])
    for name in ("link", "core"):
        _hold(name, getattr(state, name) >= 0)


def _check_turns(state: State, started: int) -> None:
    """Which tokens an expert was chosen for: known for every token that has begun."""
    known = state.turn.shape[1]
    _hold("turn", known >= started, state.turn >= -1, state.turn < known)
    _hold("token_at", state.token_at >= 0, state.token_at < known)
    _hold("turns", state.turns >= 0, state.turns <= started)

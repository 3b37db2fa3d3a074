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
    *("parked", "parked_free", "copies", "owed"),
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
    _hold("reg", reg[h.R_CLOSED] == reg[h.R_OWED] == reg[h.R_SYNAPSES] == 0)
    _hold("reg", reg[h.R_STARTED] == started >= 0)
    used, stores = _used(state, room)
    _check_messages(fixed, state, used, stores, started)
    _check_events(fixed, state, used)
    _check_buffers(fixed, state, fresh, used)
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
        if name in ROOMS and shape[0]:
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
    """Every event is about a node, a sink, a task, a link or a core, and a message that is under
    way or a copy of one."""
    kind, index, m = _events(state)
    most = np.array([len(fixed.node), len(fixed.sink), len(fixed.task), len(fixed.task)])
    if len(state.copies):
        most = np.append(most, [1, len(fixed.node), 1 + len(fixed.link_kind), len(state.core)])
    _hold("heap", kind >= 0, kind < len(most))
    _hold("heap", index < most[kind])
    moves = kind <= h.ARRIVE
    _hold("heap", m[moves] < used.size)
    _hold("heap", used[m[moves]])


def _events(state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind, index and message of all events."""
    what = state.heap[: state.reg[h.R_HEAP], 2]
    return what >> h.KIND_SHIFT, (what >> h.INDEX_SHIFT) & h.MASK, what & h.MASK


def _check_buffers(fixed: Fixed, state: State, fresh: State, used: np.ndarray) -> None:
    """Every copy of a message waits in its link's queue or for an event, is cleared by as many
    events and copies as it says, and none is free."""
    room = len(state.copies)
    if not room:
        _hold("reg", state.reg[h.R_FREE_COPIES] == fresh.reg[h.R_FREE_COPIES])
        return
    _hold("reg", 0 <= state.reg[h.R_FREE_COPIES] <= room)
    free = state.copies[: state.reg[h.R_FREE_COPIES], h.Y_FREE]
    _hold("copies", free >= 0, free < room, np.unique(free).size == free.size)
    kept = np.ones(room, bool)
    kept[free] = False
    kind, index, c = _events(state)
    freed = kind == h.FREED
    coming, arriving = c[kind == h.JOIN], c[kind == h.STAND]
    refers = c[freed & (c > 0)] - 1
    for one in (coming, arriving, refers):
        _hold("heap", one < room)
    waiting = _waiting(fixed, state, kept)
    places = np.concatenate([coming, arriving, waiting])
    _hold("copies", kept[places], kept[refers], np.unique(places).size == places.size)
    node, above = state.copies[:, h.Y_NODE], state.copies[:, h.Y_ABOVE]
    message = state.copies[places, h.Y_MESSAGE]
    _hold("copies", node[kept] >= 0, node[kept] < len(fixed.node), above >= -1, above < room)
    _hold("copies", message >= 0, message < used.size)
    _hold("copies", used[message])
    _hold("heap", node[arriving] == index[kind == h.STAND])
    below = waiting[above[waiting] >= 0]
    first, last = (fixed.node[node[above[below]], at] for at in (h.FIRST_CHILD, h.LAST_CHILD))
    _hold("copies", kept[above[below]], first <= node[below], node[below] < last)
    left = np.bincount(refers, minlength=room) + np.bincount(above[below], minlength=room)
    left[arriving] += fixed.node[node[arriving], h.LAST_CHILD]
    left[arriving] -= fixed.node[node[arriving], h.FIRST_CHILD]
    before = np.zeros(room, bool)
    before[coming] = before[waiting] = True
    _hold("copies", state.copies[kept, h.Y_LEFT] == left[kept], before[kept] == (left[kept] == 0))


def _waiting(fixed: Fixed, state: State, kept: np.ndarray) -> np.ndarray:
    """Copies in the queues of links; these end, and none holds a copy twice, or of another link."""
    ends = state.link[:, [h.B_FIRST, h.B_LAST]]
    _hold("link", ends >= -1, ends < len(kept))
    found: list[int] = []
    for link in np.flatnonzero(ends[:, 0] >= 0).tolist():
        c = int(ends[link, 0])
        while c >= 0:
            _hold("copies", c < len(kept), len(found) < len(kept))
            _hold("copies", kept[c], 0 <= state.copies[c, h.Y_NODE] < len(fixed.node))
            _hold("copies", fixed.node[state.copies[c, h.Y_NODE], h.LINK] == link)
            found.append(c)
            c = int(state.copies[c, h.Y_NEXT])
        _hold("link", found[-1] == ends[link, 1])
    return np.array(found, np.int64)


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
    _hold("link", state.link[:, [h.FREE, h.FLITS]] >= 0)
    _hold("core", state.core >= 0)


def _check_turns(state: State, started: int) -> None:
    """Which tokens an expert was chosen for: known for every token that has begun."""
    known = state.turn.shape[1]
    _hold("turn", known >= started, state.turn >= -1, state.turn < known)
    _hold("token_at", state.token_at >= 0, state.token_at < known)
    _hold("turns", state.turns >= 0, state.turns <= started)

"""More room for the arrays of the event engine, when they fill."""

import numpy as np
from numpy.typing import NDArray

from simulator.hot import state as h
from simulator.hot.state import State

I64 = NDArray[np.int64]

_ROOMS = ("heap", "waiting", "wave", "due", "message", "values", "parked", "copies", "owed")


def remembering(state: State, tokens: int) -> State:
    """The same engine with room for the routers' choices for so many tokens."""
    have = state.turn.shape[1]
    if tokens <= have:
        return state
    more = ((0, 0), (0, max(have, tokens - have)))
    turn = np.pad(state.turn, more, constant_values=-1)
    return state._replace(turn=turn, token_at=np.pad(state.token_at, more))


def enlarged(state: State) -> State:
    """The same engine with twice the room for events, messages and parked entries."""
    grown: dict[str, I64] = {}
    reg, room = state.reg.copy(), state.heap.shape[0]
    for name in _ROOMS:
        old = getattr(state, name)
        grown[name] = np.concatenate([old, np.zeros_like(old)])
    for name, register in (
        ("message_free", h.R_FREE),
        ("values_free", h.R_FREE_VALUES),
        ("parked_free", h.R_FREE_PARKED),
        ("waiting_free", h.R_FREE_WAITING),
    ):
        count = int(reg[register])
        added = np.arange(room, 2 * room)
        kept = getattr(state, name)[:count]
        grown[name] = np.concatenate([kept, added, np.zeros(room - count, np.int64)])
        reg[register] = count + room
    if state.copies.size:
        count = int(reg[h.R_FREE_COPIES])
        grown["copies"][count : count + room, h.Y_FREE] = np.arange(room, 2 * room)
        reg[h.R_FREE_COPIES] = count + room
    return state._replace(reg=reg, **grown)

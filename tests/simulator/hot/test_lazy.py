"""Pending decays on arrays: the values of kernels.gla, and what a plain walk over rows counts."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.gla import decay_step, lazy_step, read_out
from simulator.hot.lazy import lazy_update
from simulator.hot.state import FETCHED, NO_KEY, NO_QUERY, UNTOUCHED

HEADS, KEYS, VALUES = 2, 5, 3


def tokens(seed, length, silent):
    """q, k, v, decay of every token; q and k are zero with this chance."""
    rng = np.random.default_rng(seed)
    q, k = rng.random((2, length, HEADS, KEYS)) * (rng.random((2, length, HEADS, KEYS)) >= silent)
    v, decay = rng.normal(size=(length, HEADS, VALUES)), rng.random((length, HEADS, KEYS))
    return zip(*(a.astype(np.float32) for a in (q, k, v, decay)), strict=True)


def empty(most, values=VALUES):
    return (
        np.zeros((HEADS, KEYS, values), np.float32),
        np.zeros((HEADS, KEYS, most), np.float32),
        np.zeros((HEADS, KEYS), np.int64),
    )


CASES = {
    "seed": st.integers(0, 2**31),
    "length": st.integers(1, 25),
    "most": st.integers(0, 6),
    "silent": st.sampled_from([0.0, 0.5, 0.9, 1.0]),
}


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_state_and_outputs_are_those_of_the_oracle_and_of_eager_decays(seed, length, most, silent):
    (state, late, n_late), tally = empty(most), np.zeros(4, np.int64)
    slow, eager = torch.zeros(HEADS, KEYS, VALUES), torch.zeros(HEADS, KEYS, VALUES)
    pending = [[[] for _ in range(KEYS)] for _ in range(HEADS)]
    for token in tokens(seed, length, silent):
        lazy_update(state, late, n_late, *token, tally)
        q, k, v, decay = (torch.from_numpy(a) for a in token)
        out = lazy_step(slow, pending, q, k, v, decay, most)
        wanted, eager = decay_step(eager, q, k, v, decay)
        assert (state == slow.numpy()).all()
        assert (out == wanted).all() and (read_out(torch.from_numpy(state), q) == wanted).all()
        kept = [[late[h, i, : n_late[h, i]].tolist() for i in range(KEYS)] for h in range(HEADS)]
        assert kept == [[[d.item() for d in row] for row in head] for head in pending]


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_tallies_are_those_of_a_walk_over_rows_with_or_without_values(seed, length, most, silent):
    wanted = dict.fromkeys((UNTOUCHED, FETCHED, NO_KEY, NO_QUERY), 0)
    waiting = np.zeros((HEADS, KEYS), int)
    (state, late, n_late), tally = empty(most), np.zeros(4, np.int64)
    bare, counted = empty(most, 0), np.zeros(4, np.int64)
    for q, k, v, decay in tokens(seed, length, silent):
        lazy_update(state, late, n_late, q, k, v, decay, tally)
        lazy_update(*bare, q, k, v[:, :0], decay, counted)
        for row in np.ndindex(HEADS, KEYS) if most else ():
            if q[row] or k[row] or waiting[row] == most:
                wanted[FETCHED] += waiting[row]
                wanted[NO_KEY] += not k[row]
                wanted[NO_QUERY] += not q[row]
                waiting[row] = 0
            else:
                wanted[UNTOUCHED] += 1
                waiting[row] += 1
    assert tally.tolist() == counted.tolist() == [wanted[i] for i in range(4)]
    assert (n_late == waiting).all() and (bare[2] == waiting).all()

"""Events leave the queue in the total order (time, tie, what), whatever waits in line."""

import heapq
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from simulator.hot import state as h
from simulator.hot.queue import close_hole, follow, move_up, schedule

STREAMS = 4


class F(NamedTuple):
    service: np.ndarray


class S(NamedTuple):
    reg: np.ndarray
    heap: np.ndarray
    waiting: np.ndarray
    waiting_free: np.ndarray
    stream: np.ndarray


@njit
def play(f, s, script, left):
    """Rows of script: (stream, time, tie), a stream of -1 for none; or (-2, 0, 0): take the first.
    Rows of left: what was taken. The queue's lengths after each row are returned.
    """
    lengths, n = np.zeros(len(script), np.int64), 0
    for i in range(len(script)):
        stream, time, tie = script[i]
        if stream == -2:
            close_hole(s.reg, s.heap)
            left[n] = s.heap[0]
            s.reg[h.R_HOLE] = 1
            n += 1
            if left[n - 1, 2] > 0:
                move_up(s, s.stream, left[n - 1, 2] - 1, 0)
        elif stream == -1:
            schedule(s.reg, s.heap, time, tie, 0)
        else:
            follow(f, s, s.stream, stream, 0, time, tie, stream + 1)
        lengths[i] = s.reg[h.R_HEAP] - s.reg[h.R_HOLE] + s.reg[h.R_LINED]
    close_hole(s.reg, s.heap)
    return lengths


def fresh(room, streams):
    """A queue without events."""
    service, reg = np.zeros(14, np.int64), np.zeros(h.N_REGISTERS, np.int64)
    service[h.STREAMS], reg[h.R_FREE_WAITING] = streams, room
    heap, waiting = np.zeros((room, 3), np.int64), np.zeros((room, h.N_WAITING), np.int64)
    stream = np.zeros((STREAMS, 1), np.int64)
    return F(service), S(reg, heap, waiting, np.arange(room), stream)


# (stream, how much later than the stream's last, tie) or a take; few values, so that times collide
ADD = st.tuples(st.integers(-1, STREAMS - 1), st.integers(0, 3), st.integers(0, 3))
STEPS = st.lists(st.one_of(ADD, st.none()), max_size=80)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_events_of_streams_leave_in_total_order(steps):
    oracle, wanted, script, lengths = [], [], [], []
    last = {stream: (0, 0) for stream in range(STREAMS)}
    ties = 0
    for step in steps:
        if step is None:
            if not oracle:
                continue
            wanted.append(heapq.heappop(oracle))
            script.append((-2, 0, 0))
        else:
            stream, more, tie = step
            ties += 1
            time = more + (last[stream][0] if stream >= 0 else 0)
            tie = tie if stream < 0 else ties  # of equal times of one stream: the later tie
            if stream >= 0:
                last[stream] = (time, tie)
            heapq.heappush(oracle, (time, tie, stream + 1))
            script.append((stream, time, tie))
        lengths.append(len(oracle))
    f, s = fresh(max(1, len(script)), 1)
    left = np.zeros((len(script), 3), np.int64)
    found = play(f, s, np.array(script, np.int64).reshape(-1, 3), left)
    assert [tuple(row) for row in left[: len(wanted)].tolist()] == wanted
    assert found.tolist() == lengths
    assert s.reg[h.R_EVENTS_HIGH] == max(lengths, default=0)
    streams_left = {what for _, _, what in oracle} - {0}
    in_heap = [what for _, _, what in s.heap[: s.reg[h.R_HEAP]].tolist() if what]
    assert sorted(in_heap) == sorted(streams_left)  # one of each
    free = s.waiting_free[: s.reg[h.R_FREE_WAITING]].tolist()
    assert len(set(free)) == len(free) == len(s.waiting) - s.reg[h.R_LINED]


def test_without_streams_all_events_are_in_the_heap():
    f, s = fresh(8, 0)
    script = np.array([(0, 5, 1), (0, 5, 2), (0, 7, 3), (-2, 0, 0)], np.int64)
    left = np.zeros((1, 3), np.int64)
    play(f, s, script[:3], left)
    assert s.reg[h.R_HEAP] == 3 and s.reg[h.R_LINED] == 0 and not s.stream.any()

"""Events leave the heap in the total order (time, tie, what)."""

import heapq

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.hot.heap import pop, push

# few values, so that times and ties collide
KEYS = st.one_of(st.integers(0, 3), st.integers(0, 2**62))
EVENTS = st.lists(st.tuples(KEYS, KEYS, KEYS), max_size=120)


@settings(max_examples=100, deadline=None)
@given(EVENTS)
def test_events_leave_in_total_order(events):
    heap = np.zeros((len(events), 3), np.int64)
    for n, event in enumerate(events):
        push(heap, n, *event)
    left = []
    for n in range(len(events), 0, -1):
        left.append(tuple(heap[0].tolist()))
        pop(heap, n)
    assert left == sorted(events)


@settings(max_examples=100, deadline=None)
@given(EVENTS, st.lists(st.booleans(), max_size=240))
def test_pushes_and_pops_in_any_order_give_the_least_event_each_time(events, takes):
    heap = np.zeros((len(events), 3), np.int64)
    oracle: list[tuple[int, int, int]] = []
    waiting = iter(events)
    for take in takes:
        if take and oracle:
            assert tuple(heap[0].tolist()) == oracle[0]
            pop(heap, len(oracle))
            heapq.heappop(oracle)
        elif (event := next(waiting, None)) is not None:
            push(heap, len(oracle), *event)
            heapq.heappush(oracle, event)


def test_time_comes_before_tie_and_tie_before_event():
    heap = np.zeros((4, 3), np.int64)
    for n, event in enumerate([(2, 0, 0), (1, 2, 0), (1, 1, 9), (1, 1, 8)]):
        push(heap, n, *event)
    order = []
    for n in (4, 3, 2, 1):
        order.append(tuple(heap[0].tolist()))
        pop(heap, n)
    assert order == [(1, 1, 8), (1, 1, 9), (1, 2, 0), (2, 0, 0)]

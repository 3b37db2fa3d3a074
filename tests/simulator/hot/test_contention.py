"""Steps of a few messages, worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from simulator.hot import contention as hot
from simulator.hot.contention import (
    AS_LONG,
    GOT,
    KEY_BITS,
    MET,
    NO_LIST,
    WAVES,
    Room,
    Routes,
    Watched,
    step_ends,
)
from simulator.hot.state import FLITS
from simulator.noc import scratch_of, streams

SHIFT = 4
LINKS = np.arange(3)


def row(*numbers):
    return np.array([numbers], np.int64)


def routes(in_series=1, access=10, held=5, on=20, met=(), hop=0, sums=0):
    """A neuron of core 0 sends to two sinks on its own core, and over a link to one on core 1; from
    there `hop` takes it to one on core 2, 0: without that.

    met: on core 1, by neuron, synapses of lists; sums: ps that what comes to core 2 takes.
    """
    more = hop > 0
    parent, tree = np.array([-1, 0])[: 1 + more], np.zeros(1 + more, np.int64)
    first = np.where(parent >= 0, 3, -1)
    net = streams(LINKS[: 1 + more], parent, tree, 1, first, np.zeros(3, np.int8))
    sinks = [[7, NO_LIST], [8, NO_LIST], [9, 0 if met else NO_LIST]]
    return Routes(
        part=row(0, 0, 2, access, 0, 2),  # two neurons: 10 each, 2 for a spike
        part_way=np.array([0, 1]),
        way=row(0, 0, 2, 0, 0).astype(np.int32),
        kind=row(held, on, 1, sums),
        flits=np.ones((1, 1), np.int64),
        wire=row(32, 6, hop),
        net=net,
        at=np.array([[0, 0], [1, 1], [3, 2], [5, 3]][: 3 + more], np.int32),
        sink=np.array(sinks + [[AS_LONG, NO_LIST]] * more),
        n_cores=2 + more,
        send=3,
        in_series=in_series,
        met=np.array(met, np.int32),
        synop=4,
        lanes=2,
    )


def room_of(f):
    return Room(
        *np.zeros((4, 9), np.int64), f.flits, np.zeros((27, 2), np.int64),
        np.zeros(36, np.int64), np.zeros(36, np.int64), np.zeros(36, np.int32),
        np.zeros(36, np.int32), 12 * np.arange(f.n_cores), *np.zeros((2, f.n_cores), np.int64),
        scratch_of(f.net), np.zeros((3, 2), np.int64), np.zeros((len(f.sink), 4), np.int64),
    )  # fmt: skip


def taken(f, *steps, shift=SHIFT):
    """(ends, what sinks counted, when messages left, {(message, sink): when served}, flits)."""
    fires = np.array(steps, np.uint8)
    fired = fires.sum(1, dtype=np.int64)[:, None]
    sent, copies = (np.concatenate([[0], np.cumsum(n * fired[:, 0])]) for n in (1, len(f.sink)))
    watched = Watched(sent, copies, np.zeros(sent[-1], np.int64), np.zeros((copies[-1], 4), int))
    ends, every, room = np.zeros(len(fires), np.int64), np.arange(len(fires)), room_of(f)
    step_ends(f, every, fires, fires, fired, shift, room, ends, watched)
    none = Watched(*(np.zeros(0, np.int64) for _ in range(3)), np.zeros((0, 4), np.int64))
    again, unseen = np.zeros_like(ends), room_of(f)
    step_ends(f, every, fires, fires, fired, shift, unseen, again, none)
    assert (again == ends).all() and (unseen.counted == room.counted).all()
    served = [
        {tuple(one[:2]): one[2] for one in watched.served[a:b].tolist()}
        for a, b in pairwise(copies)
    ]
    return ends.tolist(), room.counted, watched.left.tolist(), served, room.links[:, FLITS].tolist()


def test_a_message_is_taken_in_at_its_own_core_and_at_another():
    ends, counted, left, served, flits = taken(routes(), [1, 0])
    leaves = 10 + 2 + 3  # then the second neuron has its turn, until 25
    assert left == [leaves] and counted[:, GOT].tolist() == [1, 1, 1] and flits == [1, 0, 0]
    assert served == [{(0, 0): 25, (0, 1): 25 + 7, (0, 2): leaves + 20}]
    assert counted[:, hot.BUSY].tolist() == [7, 8, 9]
    assert ends == [leaves + 20 + 9]


def test_cores_that_take_in_beside_their_neurons_do_so_at_once():
    _, _, _, served, _ = taken(routes(in_series=0), [1, 0])
    assert served == [{(0, 0): 15, (0, 1): 15 + 7, (0, 2): 15 + 20}]


def test_second_messages_wait_and_every_step_begins_at_rest():
    ends, counted, left, served, flits = taken(routes(held=50), [1, 1], [0, 0], [0, 1])
    # the link is free 50 after 15; core 0 takes all of the first message, then of the second
    assert served[0] == {
        (0, 0): 30, (0, 1): 37, (1, 0): 45, (1, 1): 52, (0, 2): 35, (1, 2): 65 + 20,
    }  # fmt: skip
    assert ends == [15 + 50 + 50, 20, 10 + 15 + 50]
    assert counted[:, GOT].tolist() == [3, 3, 3] and flits == [3, 0, 0] and left == [15, 30, 25]
    assert served[1:] == [{}, {(0, 0): 25, (0, 1): 32, (0, 2): 45}]


def test_what_stands_behind_its_first_link_goes_on_over_the_next():
    """The second message is behind the first link 15 later, and no longer waits for the next."""
    ends, counted, _, served, flits = taken(routes(hop=40, sums=100), [1, 1])
    behind = 15 + 20
    assert served[0][0, 2] == behind and served[0][1, 2] == behind + 15
    assert served[0][0, 3] == behind + 40 and served[0][1, 3] == behind + 40 + 100
    assert ends == [behind + 40 + 200] and flits == [2, 2, 0]
    assert counted[3].tolist() == [2, 200, 0, 0]


def test_a_list_is_worked_off_as_long_as_it_is():
    """Two synapses at once, 4 for both: three take 8, none take no more than the message."""
    ends, counted, *_ = taken(routes(met=(3, 0)), [1, 0], [0, 1])
    assert ends == [15 + 20 + 9 + 8, 25 + 20 + 9]
    assert counted[:, MET].tolist() == [0, 0, 3] and counted[:, WAVES].tolist() == [0, 0, 2]
    assert counted[2, hot.BUSY] == 9 + 8 + 9


@njit
def sorted_with(keys, sinks):
    hot.in_order(keys, sinks, np.empty_like(keys), np.empty_like(sinks), 0, keys.size)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=9), st.booleans())
def test_runs_are_merged_and_equals_keep_their_order(runs, sort):
    keys = np.array([key for run in runs for key in (sorted(run) if sort else run)], np.int64)
    sinks = np.arange(keys.size, dtype=np.int32)
    order = np.argsort(keys, kind="stable")
    wanted = keys[order]
    sorted_with(keys, sinks)
    assert keys.tolist() == wanted.tolist() and sinks.tolist() == order.tolist()


LONGEST = 1 << (KEY_BITS - SHIFT)


@pytest.mark.parametrize(
    ("two_neurons", "end"),
    [(LONGEST, -1), (LONGEST - 10, -1), (LONGEST - 40, LONGEST - 40 + 2 + 3 + 7 + 8)],
)
def test_a_step_that_keys_cannot_tell_is_told(two_neurons, end):
    assert taken(routes(access=two_neurons // 2), [1, 0])[0] == [end]


def test_links_on_which_a_step_takes_too_long_are_told_and_nothing_waits_there():
    assert taken(routes(hop=LONGEST), [1, 0], [0, 0])[0] == [-1, 20]

"""Steps of a few messages, worked out by hand."""

import numpy as np
import pytest

from simulator.hot.contention import KEY_BITS, NO_LIST, Routes, Watched, step_ends

SHIFT = 4


def row(*numbers):
    return np.array([numbers], np.int64)


def routes(in_series=1, access=10, held=5, on=20, met=()):
    """A neuron of core 0 sends to two sinks on its own core, and over a link to one on core 1.

    met: there, by neuron, synapses of lists.
    """
    return Routes(
        part=row(0, 0, 2, access, 0, 2),  # two neurons: 10 each, 2 for a spike
        part_way=np.array([0, 1]),
        way=row(3, 0, 1, 0, 0, 1, 3),
        reach=np.array([0, 4]),
        reached=np.array([0, 1, 1, 2]),
        stop=np.array(
            [
                [0, held, on, 0, 0, 3, 4, 0],
                [1, 7, NO_LIST, 0, 0, 0, 0, 0],
                [1, 8, NO_LIST, 0, 0, 0, 0, 1],
                [2, 9, 0 if met else NO_LIST, 0, 0, 0, 0, 0],
            ]
        ),
        n_links=1,
        n_cores=2,
        send=3,
        in_series=in_series,
        met=np.array(met, np.int32),
        synop=4,
        lanes=2,
    )


def taken(f, *steps):
    """(ends, messages by stop, when copies left and were served, where) of steps of spikes."""
    fires = np.array(steps, np.uint8)
    fired = fires.sum(1, dtype=np.int64)[:, None]
    begin = np.concatenate([[0], np.cumsum(3 * fired[:, 0])])
    watched = Watched(begin, *(np.zeros(begin[-1], np.int64) for _ in range(4)))
    ends, passed = np.zeros(len(fires), np.int64), np.zeros(4, np.int64)
    every = np.arange(len(fires))
    step_ends(
        f,
        every,
        fires,
        fires,
        fired,
        SHIFT,
        99,
        9,
        ends,
        passed,
        np.zeros((2, 4), np.int64),
        watched,
    )
    told = watched.left, watched.served, watched.stop
    return ends.tolist(), passed.tolist(), *(x.tolist() for x in told)


def test_a_message_is_taken_in_at_its_own_core_and_at_another():
    ends, passed, left, served, stop = taken(routes(), [1, 0])
    leaves = 10 + 2 + 3  # then the second neuron has its turn, until 25
    assert left[0] == leaves and stop == [1, 2, 3] and passed == [1, 1, 1, 1]
    assert served == [25, 25 + 7, leaves + 20]
    assert ends == [leaves + 20 + 9]


def test_cores_that_take_in_beside_their_neurons_do_so_at_once():
    _, _, _, served, _ = taken(routes(in_series=0), [1, 0])
    assert served == [15, 15 + 7, 15 + 20]


def test_second_messages_wait_and_every_step_begins_at_rest():
    ends, passed, left, served, stop = taken(routes(held=50), [1, 1], [0, 0], [0, 1])
    # the link is free 50 after 15; core 0 takes all of the first message, then of the second
    assert served[:6] == [30, 37, 35, 45, 52, 65 + 20]
    assert ends == [15 + 50 + 50, 20, 10 + 15 + 50]
    assert passed == [3, 3, 3, 3] and stop == [1, 2, 3] * 3 and left[0:7:3] == [15, 30, 25]
    assert served[6:] == [25, 32, 45]


def test_a_list_is_worked_off_as_long_as_it_is():
    """Two synapses at once, 4 for both: three take 8, none take no more than the message."""
    f, fires = routes(met=(3, 0)), np.array([[1, 0], [0, 1]], np.uint8)
    ends, passed, met = np.zeros(2, np.int64), np.zeros(4, np.int64), np.zeros((2, 4), np.int64)
    none = Watched(*(np.zeros(0, np.int64) for _ in range(5)))
    fired = fires.sum(1, dtype=np.int64)[:, None]
    step_ends(f, np.arange(2), fires, fires, fired, SHIFT, 99, 9, ends, passed, met, none)
    assert ends.tolist() == [15 + 20 + 9 + 8, 25 + 20 + 9]
    assert met.tolist() == [[0, 0, 0, 3], [0, 0, 0, 2]]


LONGEST = 1 << (KEY_BITS - SHIFT)


@pytest.mark.parametrize(
    ("two_neurons", "end"),
    [(LONGEST, -1), (LONGEST - 10, -1), (LONGEST - 40, LONGEST - 40 + 2 + 3 + 7 + 8)],
)
def test_a_step_that_keys_cannot_tell_is_told(two_neurons, end):
    assert taken(routes(access=two_neurons // 2), [1, 0])[0] == [end]

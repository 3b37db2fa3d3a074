"""Links in topological order against an event queue: the same picoseconds, also in exact ties."""

import heapq
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.audit.trees import parent_of_node, tree_of_node
from hw_models.events import LINKS
from simulator.hot import state as h
from simulator.hot.noc import DONE, TOO_LONG, carry
from simulator.noc import flits_of, net_of, scratch_of, streams
from tests.tiny import tiny

NONE = np.zeros((0, 2), np.int64)


@cache
def network():
    """Trees of a program on two chips: forks, and links that many of them share."""
    program = tiny()
    return program.tables, net_of(program, stopping=True)


def random_wave(rng, rows, grid, wire):
    """Messages of random trees, each source's one after another; times on a grid, so that many are
    equal. (messages, wave, link table)"""
    t, _ = network()
    messages = np.zeros((2 * rows, h.N_MESSAGE), np.int64)
    wave = np.zeros((rows, h.N_WAVE), np.int64)
    trees = rng.choice(rng.integers(0, t.tree_root.size, 1 + rows // 3), rows)
    trees = trees[np.argsort(t.tree_source[trees], kind="stable")]
    free = {}
    links = np.zeros((t.link_kind.size, 2), np.int64)
    links[:, h.FREE] = rng.integers(0, 3 * grid + 1, t.link_kind.size)
    for i, (m, tree) in enumerate(zip(rng.permutation(2 * rows)[:rows], trees, strict=True)):
        bits, times, source = rng.integers(1, 90), rng.integers(1, 4), int(t.tree_source[tree])
        messages[m, [h.M_TREE, h.M_BITS, h.M_TIMES]] = tree, bits, times
        root = t.tree_root[tree]
        time = max(free.get(source, 0), 10**6 + grid * int(rng.integers(0, 8)))
        free[source] = time + int(times * -(-bits // wire[0, h.FLIT_BITS]) * wire[0, h.FLIT_PS])
        wave[i] = time, (source << 40) | i, root, m
    return messages, wave, links


def carried(net, wire, messages, wave, links, stood):
    """(Status, when all is quiet, crossings) of rows as the engine has them."""
    tree, bits, times = messages[wave[:, h.W_MESSAGE]][:, [h.M_TREE, h.M_BITS, h.M_TIMES]].T.copy()
    tree[wave[:, h.W_NODE] < 0] = -1
    scratch = scratch_of(net)
    flits = flits_of(wire, bits, times)
    found = carry(net, wire, wave[:, h.W_TIME].copy(), tree, flits, links, scratch, stood)
    assert not any(a.any() for a in scratch)
    assert found[3] == len(stood) or found[0] != DONE
    return found[:3]


def by_queue(wire, messages, wave, links):
    """A heap of (time, tie, node): what the engine does, in other words."""
    t, _ = network()
    tree = tree_of_node(t, parent_of_node(t))
    events = [(int(w[0]), int(w[1]), int(w[2]), int(w[3]), i) for i, w in enumerate(wave)]
    events = [e for e in events if e[2] >= 0]
    heapq.heapify(events)
    quiet, stood = 0, {}
    while events:
        time, tie, node, m, i = heapq.heappop(events)
        quiet = max(quiet, time)
        stood[i, node] = time
        assert tree[node] == messages[m, h.M_TREE]
        for child in range(t.node_first_child[node], t.node_last_child[node]):
            link = t.node_link[child]
            bits, ps, hop = wire[t.link_kind[link]]
            flits = int(messages[m, h.M_TIMES] * -(-messages[m, h.M_BITS] // bits))
            start = max(time, int(links[link, h.FREE]))
            links[link, h.FREE] = start + flits * int(ps)
            links[link, h.FLITS] += flits
            quiet = max(quiet, int(links[link, h.FREE]))
            arrive = start + int(hop) + (flits - 1) * int(ps)
            heapq.heappush(events, (arrive, tie, child, m, i))
    return quiet, stood


@cache
def stops_of_tree(tree):
    """Nodes below its root that have sinks."""
    t, _ = network()
    inside = tree_of_node(t, parent_of_node(t)) == tree
    stops = np.flatnonzero(inside & (t.node_first_sink < t.node_last_sink))
    return [node for node in stops.tolist() if node != t.tree_root[tree]]


wires = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(0, 9)),
    min_size=len(LINKS),
    max_size=len(LINKS),
).map(lambda rows: np.array(rows, np.int64))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 150),
    grid=st.sampled_from([0, 1, 7, 500]),
    wire=wires,
)
def test_times_links_and_the_end_are_the_event_queues(seed, rows, grid, wire):
    _, net = network()
    messages, wave, links = random_wave(np.random.default_rng(seed), rows, grid, wire)
    before = links.copy()
    trees = messages[wave[:, h.W_MESSAGE], h.M_TREE]
    room = net.tree_stops[trees] * (wave[:, h.W_NODE] >= 0)
    stood = np.full((int(room.sum()), 2), -1)
    status, quiet, crossings = carried(net, wire, messages, wave, links, stood)
    wanted_quiet, wanted = by_queue(wire, messages, wave, before)
    assert (status, crossings) == (DONE, len(wanted) - int((wave[:, h.W_NODE] >= 0).sum()))
    np.testing.assert_array_equal(links, before)  # written by the queue meanwhile
    assert quiet == wanted_quiet
    assert {what: ps for ps, what in stood.tolist()} == {
        i << 32 | int(network()[0].node_first_sink[node]): ps
        for (i, node), ps in wanted.items()
        if node in stops_of_tree(trees[i])
    }


def test_a_wave_that_lasts_too_long_changes_nothing():
    _, net = network()
    wire = np.array([[32, 1, 1 << 58]] * len(LINKS), np.int64)
    messages, wave, links = random_wave(np.random.default_rng(1), 60, 7, wire)
    before = links.copy()
    assert carried(net, wire, messages, wave, links, NONE)[0] == TOO_LONG
    np.testing.assert_array_equal(links, before)


def test_a_fork_to_many_links_finds_room():
    """Messages 10 ps apart over a link and on over forty others: none waits, all go everywhere."""
    forks, rows, kinds = 40, 300, np.zeros(42, np.int8)
    link = np.arange(forks + 2)
    parent = np.array([-1, 0] + [1] * forks)
    net = streams(link, parent, np.zeros_like(link), 1, np.where(link > 1, link, -1), kinds)
    messages = np.zeros((1, h.N_MESSAGE), np.int64)
    messages[0, [h.M_BITS, h.M_TIMES]] = 60, 1
    wave = np.zeros((rows, h.N_WAVE), np.int64)
    wave[:, h.W_TIME] = wave[:, h.W_TIE] = 10 * np.arange(rows)
    links, stood = np.zeros((forks + 2, 2), np.int64), np.zeros((forks * rows, 2), np.int64)
    wire = np.array([[32, 5, 7]], np.int64)
    status, quiet, crossings = carried(net, wire, messages, wave, links, stood)
    assert (status, crossings) == (DONE, rows * (forks + 1))
    last = 10 * (rows - 1)
    assert quiet == last + 2 * (7 + 5)
    assert links.tolist() == [[0, 0], [last + 10, 2 * rows]] + [[last + 12 + 10, 2 * rows]] * forks
    every = {i << 32 | stop: 10 * i + 24 for i in range(rows) for stop in range(2, forks + 2)}
    assert {what: ps for ps, what in stood.tolist()} == every


@pytest.mark.parametrize("rows", [0, 1])
def test_messages_without_links_take_no_time_on_them(rows):
    t, net = network()
    messages = np.ones((1, h.N_MESSAGE), np.int64)
    wave = np.array([[50, 0, -1, 0]])[:rows]
    messages[0, h.M_TREE] = int((t.tree_root < 0).argmax())
    links = np.zeros((t.link_kind.size, 2), np.int64)
    wire = np.array([[32, 1, 1]] * len(LINKS), np.int64)
    status, quiet, crossings = carried(net, wire, messages, wave, links, NONE)
    assert (status, crossings) == (DONE, 0) and quiet <= 50 and not links.any()

"""Messages over links without an event queue: links in topological order, each a sorted merge.

For messages whose injection times are all known, over links that do not wait for each other in a
circle and have unbounded buffers. What reaches a link comes from the few links before it, and each
of these hands on in strictly increasing time. So first come, first served is a merge of sorted
streams by (time, tie), and times follow by a running maximum. They are the event queue's, to the
picosecond.

A key packs the time since the wave's earliest message and the message's row in the wave.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, njit

from simulator.hot import state as h
from simulator.hot.jit import entry, inner

DONE, TOO_LONG = 0, 1
"""Status: TOO_LONG where a wave lasts longer than keys can tell; then nothing has changed."""

LAST = (1 << 63) - 1

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_LOWEST = np.zeros(64, np.int64)
_LOWEST[[(0x03F79D71B4CB0A89 << bit & (1 << 64) - 1) >> 58 for bit in range(64)]] = range(64)

FIRST, END, EDGE, STOP = range(4)  # Net.node: children, edge it comes over, stop; or -1


class Net(NamedTuple):
    """Trees as streams. An edge leads from a link to one behind it; a place is a link's rank.

    node        int32[nodes, 4]
    tree_first  int64[trees + 1]: a tree's nodes in `nodes`, parents first
    nodes       int64[nodes]
    stop_first  int64[trees + 1]: a tree's stops, the nodes below its root that have sinks
    edge_place  int64[edges], rising: place of the link that an edge leads to
    place_edge  int64[places + 1]: edges that lead to a place
    place_link  int64[places]
    place_kind  int64[places]
    """

    node: np.ndarray
    tree_first: np.ndarray
    nodes: np.ndarray
    stop_first: np.ndarray
    edge_place: np.ndarray
    place_edge: np.ndarray
    place_link: np.ndarray
    place_kind: np.ndarray


class Scratch(NamedTuple):
    """Zeros before and after.

    edge  int64[edges]; tree int64[trees]; touched uint64[places / 64 + 1]
    """

    edge: np.ndarray
    tree: np.ndarray
    touched: np.ndarray


@entry
def rank(above, below, n_links):
    """Links, each behind all that hand on to it, and how many: fewer than there are in a circle.

    above, below   int64[edges], sorted by `above`
    """
    waits = np.zeros(n_links, np.int64)
    first = np.zeros(n_links + 1, np.int64)
    for e in range(above.size):
        waits[below[e]] += 1
        first[above[e] + 1] += 1
    order = np.empty(n_links, np.int64)
    n = 0
    for link in range(n_links):
        first[link + 1] += first[link]
        if waits[link] == 0:
            order[n] = link
            n += 1
    done = 0
    while done < n:
        for e in range(first[order[done]], first[order[done] + 1]):
            waits[below[e]] -= 1
            if waits[below[e]] == 0:
                order[n] = below[e]
                n += 1
        done += 1
    return order, n


@njit(inline="always")
def lowest(bits):
    """Position of the lowest set bit of an uint64 that has one (Leiserson et al., 1998)."""
    return _LOWEST[((bits & (~bits + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]


@inner
def size_streams(net, messages, wave, scratch):
    """Entries of every stream, in scratch.edge; links that get any are touched. Their sum."""
    for i in range(wave.shape[0]):
        scratch.tree[messages[wave[i, h.W_MESSAGE], h.M_TREE]] += 1
    total = int64(0)
    for i in range(wave.shape[0]):
        tree = messages[wave[i, h.W_MESSAGE], h.M_TREE]
        n = scratch.tree[tree]
        if n == 0:
            continue
        scratch.tree[tree] = 0
        for k in range(net.tree_first[tree], net.tree_first[tree + 1]):
            edge = int64(net.node[net.nodes[k], EDGE])
            if edge >= 0:
                scratch.edge[edge] += n
                total += n
                place = net.edge_place[edge]
                scratch.touched[place >> 6] |= np.uint64(1) << np.uint64(place & 63)
    return total


@inner
def touched_places(touched, found):
    """Set bits of `touched`, rising, into found; how many. They are cleared."""
    n = 0
    for word in range(touched.size):
        bits = touched[word]
        touched[word] = 0
        while bits:
            found[n] = (word << 6) + lowest(bits)
            n += 1
            bits &= bits - np.uint64(1)
    return n


@njit(inline="always")
def hand_on(node, parent, key, to, keys, nodes):
    """A message stands at a node: it joins the streams of the links behind it."""
    for child in range(node[parent, FIRST], node[parent, END]):
        edge = node[child, EDGE]
        at = to[edge]
        keys[at], nodes[at] = key, child
        to[edge] = at + 1


@njit(inline="always")
def earliest(heads, n, keys):
    """The stream whose next entry is first."""
    best, least = 0, int64(LAST)
    for j in range(n):
        key = keys[heads[j]]
        if key < least:
            best, least = j, key
    return best


@inner
def lay_out(net, places, n_places, to):
    """Streams one after another, place by place: from how many entries each has to where its first
    one goes. Most streams of one place."""
    begin, widest = int64(0), int64(0)
    for p in range(n_places):
        first, end = net.place_edge[places[p]], net.place_edge[places[p] + 1]
        widest = max(widest, end - first)
        for edge in range(first, end):
            n, to[edge] = to[edge], begin
            begin += n
    return widest


@inner
def begin_at_roots(net, wire, messages, wave, base, shift, to, keys, nodes, flits, block):
    """Messages stand at their roots: the first entries of streams; flits by kind of link, and where
    each message's part of `stood` begins. Returns the latest time."""
    latest, begin = -base, int64(0)
    for i in range(wave.shape[0]):
        row = messages[wave[i, h.W_MESSAGE]]
        for kind in range(wire.shape[0]):
            width = wire[kind, h.FLIT_BITS]
            flits[i, kind] = row[h.M_TIMES] * ((row[h.M_BITS] + width - 1) // width)
        if wave[i, h.W_NODE] >= 0:
            tree = row[h.M_TREE]
            block[i] = begin - net.stop_first[tree]
            begin += net.stop_first[tree + 1] - net.stop_first[tree]
            time = wave[i, h.W_TIME] - base
            latest = max(latest, time)
            hand_on(net.node, wave[i, h.W_NODE], (time << shift) | i, to, keys, nodes)
    return latest


@inner
def open_streams(edges, end_edge, begin, to, heads, ends):
    """Streams of a place that have entries: (how many, where the next place's begin)."""
    n = 0
    for edge in range(edges, end_edge):
        if to[edge] > begin:
            heads[n], ends[n] = begin, to[edge]
            begin = to[edge]
            n += 1
    return n, begin


@inner
def cross_all(net, wire, links, base, shift, places, after, to, keys, nodes, flits, block, heads, ends, stood, longest):  # fmt: skip  # noqa: E501
    """Every touched link in order: merge what comes, hand it on. Returns the latest time; the
    links' new state is in `after`: free, flits."""
    mask, node = (int64(1) << shift) - 1, net.node
    latest, begin = -base, int64(0)
    for p in range(after.shape[0]):
        place = places[p]
        link, kind = net.place_link[place], net.place_kind[place]
        flit_ps, hop_ps = wire[kind, h.FLIT_PS], wire[kind, h.HOP_PS]
        free, carried = links[link, h.FREE] - base, int64(0)
        n, begin = open_streams(
            net.place_edge[place], net.place_edge[place + 1], begin, to, heads, ends
        )
        while n:
            best = earliest(heads, n, keys) if n > 1 else 0
            at = heads[best]
            heads[best] = at + 1
            if at + 1 == ends[best]:
                n -= 1
                heads[best], ends[best] = heads[n], ends[n]
            key, child = keys[at], nodes[at]
            i = key & mask
            f = flits[i, kind]
            start = max(key >> shift, free)
            free = start + f * flit_ps
            arrive = start + hop_ps + (f - 1) * flit_ps
            carried += f
            latest = max(latest, arrive)
            if stood.size and node[child, STOP] >= 0:
                stood[block[i] + node[child, STOP]] = arrive + base
            hand_on(node, child, (arrive << shift) | i, to, keys, nodes)
        latest = max(latest, free)
        after[p, 0], after[p, 1] = free, carried
        if latest >= longest:
            break
    return latest


@inner
def settle(net, places, after, links, base, to, keep):
    """Scratch is zeros again; links are as they were left, if they are to be kept."""
    for p in range(after.shape[0]):
        for edge in range(net.place_edge[places[p]], net.place_edge[places[p] + 1]):
            to[edge] = 0
        if keep:
            link = net.place_link[places[p]]
            links[link, h.FREE] = after[p, 0] + base
            links[link, h.FLITS] += after[p, 1]


@entry
def carry(net, wire, messages, wave, links, scratch, stood):
    """Take a wave over all its links: (status, when all is quiet, crossings).

    wire      as Fixed.wire
    messages  as State.message: tree, bits and multiplicity are read
    wave      int64[rows, N_WAVE], sorted by tie: when a message stands at its root (or -1: none)
    links     as State.link, changed
    stood     none, or room for the stops of all messages: when each stands there, message by
              message in the order of its tree's nodes
    """
    rows, to = wave.shape[0], scratch.edge
    if rows == 0:
        return DONE, int64(0), int64(0)
    base = wave[:, h.W_TIME].min()
    shift = int64(1)
    while (1 << shift) < rows:
        shift += 1
    longest = int64(1) << (62 - shift)
    total = size_streams(net, messages, wave, scratch)
    places = np.empty(min(total, net.place_link.size), np.int64)
    n_places = touched_places(scratch.touched, places)
    widest = lay_out(net, places, n_places, to)
    keys, nodes = np.empty(total, np.int64), np.empty(total, np.int32)
    flits, block = np.empty((rows, wire.shape[0]), np.int64), np.empty(rows, np.int64)
    latest = begin_at_roots(net, wire, messages, wave, base, shift, to, keys, nodes, flits, block)
    after = np.empty((n_places, 2), np.int64)
    heads, ends = np.empty(widest, np.int64), np.empty(widest, np.int64)
    latest = max(latest, cross_all(
        net, wire, links, base, shift, places, after, to, keys, nodes, flits, block, heads, ends,
        stood, longest,
    ))  # fmt: skip
    settle(net, places, after, links, base, to, latest < longest)
    if latest >= longest:
        return TOO_LONG, int64(0), total
    return DONE, latest + base, total

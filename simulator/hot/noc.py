"""Messages over links without an event queue: links in topological order, each a sorted merge.

For messages whose injection times are all known, over links that do not wait for each other in a
circle and have unbounded buffers. What reaches a link comes from the few links before it, and each
of these hands on in strictly increasing time. So first come, first served is a merge of sorted
streams by (time, tie), and times follow by a running maximum. They are the event queue's, to the
picosecond.

A key packs the time since the wave's earliest message and the message's row in the wave. Beside it
a stream holds the node that the message comes to. Nodes of one link lie together, streams last only
until their link has read them, and then the next ones take their room: all that is touched for a
link is in the cache.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, njit, uint32, uint64

from simulator.hot import state as h
from simulator.hot.jit import entry, inner

DONE, TOO_LONG, GROW = range(3)
"""Status: TOO_LONG where a wave lasts longer than keys can tell; then nothing has changed."""

LAST = (1 << 63) - 1
"""Key behind the end of a stream."""

SEVERAL = 1 << 31
"""Net.node: not one edge and its child, but (SEVERAL + n, first row of branch) for n of them."""

AT, SIZE, NEXT = range(3)  # Scratch.edge: its stream, and (1 + edge) another one of its place

WORD, PLACES, CROSSED, LATEST, MOST = range(5)  # how far cross_all is

FEWEST = 3
"""Room for a stream is 1 << FEWEST keys, or 2, 4, 8 ... times that."""

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_LOWEST = np.zeros(64, np.int64)
_LOWEST[[(0x03F79D71B4CB0A89 << bit & (1 << 64) - 1) >> 58 for bit in range(64)]] = range(64)


class Net(NamedTuple):
    """Trees as streams. An edge leads from a link to one behind it; a place is a link's rank.

    node        uint32[nodes, 2]: edge of, and way to, the next node of those below roots, by place
    branch      uint32[branches, 2]: the same, below roots, tree by tree, and below nodes that have
                not just one child
    straight    a way is `straight` times the links that go straight on, plus the node behind them
    tree_first  int64[trees + 1]: a tree's rows of branch
    stop        int32[nodes]: which of its tree's stops it is (nodes that have sinks), or -1
    stop_first  int64[trees + 1]
    place_edge  int64[places + 1]: edges that begin at a place
    edge_place  int64[edges]: place that an edge leads to
    place_link  int64[places]
    place_kind  int64[places]
    most        edges that lead to one place
    """

    node: np.ndarray
    branch: np.ndarray
    straight: int
    tree_first: np.ndarray
    stop: np.ndarray
    stop_first: np.ndarray
    place_edge: np.ndarray
    edge_place: np.ndarray
    place_link: np.ndarray
    place_kind: np.ndarray
    most: int


class Scratch(NamedTuple):
    """Zeros before and after.

    edge     int64[edges, 3]
    first    int64[places]: 1 + an edge whose stream waits there
    touched  uint64[places / 64 + 1]: places where streams wait
    """

    edge: np.ndarray
    first: np.ndarray
    touched: np.ndarray


class Wave(NamedTuple):
    """Messages under way: times since `base` are shifted by `shift`, beside a message's row."""

    base: int
    shift: int
    each: int  # of a row, what numbers its flits: all of it, or nothing where all are as long
    longest: int  # flits
    flits: np.ndarray  # int64[kinds, rows]
    block: np.ndarray  # int64[rows]: where a message's stops begin in `stood`, less its tree's
    stood: np.ndarray


class Put(NamedTuple):
    """What a link hands on, edge by edge."""

    key: np.ndarray
    way: np.ndarray


class Pool(NamedTuple):
    """Room for streams, in blocks of powers of two.

    key   int64[room]; a free block's first one is the next free block of its size (1 + at)
    way   uint32[room]
    free  int64[64]: the first free block of every size (1 + at); last, where untouched room begins
    """

    key: np.ndarray
    way: np.ndarray
    free: np.ndarray


@entry
def straighten(child, straight, most):
    """Links that go straight on behind every node, `most` at most, and the node behind them.

    child     int64[nodes], larger: the one that a node which goes straight on has
    straight  bool[nodes]
    """
    left, end = np.zeros(child.size, np.int64), np.arange(child.size)
    for node in range(child.size - 1, -1, -1):
        if straight[node] and left[child[node]] < most:
            left[node], end[node] = left[child[node]] + 1, end[child[node]]
    return left, end


@entry
def rank(above, below, n_links):
    """Links, each behind all that hand on to it, and how many: fewer than there are in a circle.

    A link comes soon after those before it, so that few streams wait at a time.

    above, below   int64[edges], sorted by `above`
    """
    waits = np.zeros(n_links, np.int64)
    first = np.zeros(n_links + 1, np.int64)
    for e in range(above.size):
        waits[below[e]] += 1
        first[above[e] + 1] += 1
    order, ready = np.empty(n_links, np.int64), np.empty(n_links, np.int64)
    done, n = 0, 0
    for link in range(n_links):
        first[link + 1] += first[link]
    for link in range(n_links - 1, -1, -1):
        if waits[link] == 0:
            ready[n] = link
            n += 1
    while n:
        n -= 1
        link = ready[n]
        order[done] = link
        done += 1
        for e in range(first[link], first[link + 1]):
            waits[below[e]] -= 1
            if waits[below[e]] == 0:
                ready[n] = below[e]
                n += 1
    return order, done


@njit(inline="always")
def lowest(bits):
    """Position of the lowest set bit of an uint64 that has one (Leiserson et al., 1998)."""
    return _LOWEST[((bits & (~bits + np.uint64(1))) * _DE_BRUIJN) >> np.uint64(58)]


@njit(inline="always")
def size_class(n):
    """Of the smallest block that holds n keys."""
    c = 0
    while (int64(1) << (c + FEWEST)) < n:
        c += 1
    return c


@njit(inline="always")
def take(pool, n):
    """A block for n keys."""
    c = size_class(n)
    at = pool.free[c] - 1
    if at >= 0:
        pool.free[c] = pool.key[at]
    else:
        at = pool.free[-1]
        pool.free[-1] += int64(1) << (c + FEWEST)
    return at


@njit(inline="always")
def give(pool, at, n):
    """The block of n keys is free."""
    c = size_class(n)
    pool.key[at] = pool.free[c]
    pool.free[c] = at + 1


@njit
def larger(pool, more):
    """The same pool with room for some more keys, and twice as large at least."""
    room = pool.key.size + max(pool.key.size, more)
    keys, nodes = np.empty(room, np.int64), np.empty(room, np.uint32)
    keys[: pool.key.size], nodes[: pool.key.size] = pool.key, pool.way
    return Pool(keys, nodes, pool.free)


@njit(inline="always")
def join(edges, edge, way, key, keys, ways):
    """A message joins the stream of an edge."""
    at = uint64(edges[edge, AT])
    keys[at], ways[at] = key, way
    edges[edge, AT] = at + uint64(1)


@njit(inline="always")
def hand_on(net, edges, way, key, put):
    """A message stands at a node that does not just go straight on: it joins the streams of the
    links behind."""
    edge, onward = net.node[way, 0], net.node[way, 1]
    if edge < SEVERAL:
        join(edges, edge, onward, key, put.key, put.way)
    else:
        for row in range(onward, onward + (edge - uint32(SEVERAL))):
            join(edges, net.branch[row, 0], net.branch[row, 1], key, put.key, put.way)


@njit(inline="always")
def wait(scratch, pool, edge, place, at, size):
    """A stream of some size at `at` is whole, and waits for the link behind its edge."""
    pool.key[at + size] = LAST
    row = scratch.edge[edge]
    row[AT], row[SIZE], row[NEXT] = at, size, scratch.first[place]
    scratch.first[place] = edge + 1
    scratch.touched[place >> 6] |= uint64(1) << uint64(place & 63)


@inner
def size_up(net, wire, messages, wave, base, scratch, flits, block, begun):
    """Flits of messages by kind of link, where each one's part of `stood` begins, sizes of the
    streams that begin at roots: (how many streams, latest time, most flits, do flits differ)."""
    latest, begin, n, longest, differ = -base, int64(0), int64(0), int64(0), False
    for i in range(wave.shape[0]):
        row = messages[wave[i, h.W_MESSAGE]]
        for kind in range(wire.shape[0]):
            width = wire[kind, h.FLIT_BITS]
            flits[kind, i] = row[h.M_TIMES] * ((row[h.M_BITS] + width - 1) // width)
            differ |= flits[kind, i] != flits[kind, 0]
            longest = max(longest, flits[kind, i])
        if wave[i, h.W_NODE] < 0:
            continue
        tree = row[h.M_TREE]
        block[i] = begin - net.stop_first[tree]
        begin += net.stop_first[tree + 1] - net.stop_first[tree]
        latest = max(latest, wave[i, h.W_TIME] - base)
        for at in range(net.tree_first[tree], net.tree_first[tree + 1]):
            edge = net.branch[at, 0]
            if scratch.edge[edge, SIZE] == 0:
                begun[n] = edge
                n += 1
            scratch.edge[edge, SIZE] += 1
    return n, latest, longest, differ


@inner
def room_for(scratch, begun, n):
    """Keys of the blocks that hold the streams begun."""
    room = int64(0)
    for e in range(n):
        room += int64(1) << (size_class(scratch.edge[begun[e], SIZE] + 1) + FEWEST)
    return room


@inner
def begin_at_roots(net, messages, wave, base, shift, scratch, pool, begun, n):
    """Messages stand at their roots: the first streams."""
    for e in range(n):
        row = scratch.edge[begun[e]]
        row[AT] = take(pool, row[SIZE] + 1)
    for i in range(wave.shape[0]):
        if wave[i, h.W_NODE] >= 0:
            tree, key = messages[wave[i, h.W_MESSAGE], h.M_TREE], (wave[i, h.W_TIME] - base) << shift
            for at in range(net.tree_first[tree], net.tree_first[tree + 1]):
                join(scratch.edge, net.branch[at, 0], net.branch[at, 1], key | i, pool.key, pool.way)
    for e in range(n):
        edge = begun[e]
        size = scratch.edge[edge, SIZE]
        wait(scratch, pool, edge, net.edge_place[edge], scratch.edge[edge, AT] - size, size)


@inner
def collect(scratch, place, heads):
    """Streams that wait at a place: (how many, their entries)."""
    n, total, edge = 0, int64(0), scratch.first[place] - 1
    while edge >= 0:
        heads[n] = scratch.edge[edge, AT]
        total += scratch.edge[edge, SIZE]
        n += 1
        edge = scratch.edge[edge, NEXT] - 1
    return n, total


@inner
def give_back(scratch, pool, place):
    """Nothing waits at a place any more."""
    edge = scratch.first[place] - 1
    scratch.first[place] = 0
    while edge >= 0:
        row = scratch.edge[edge]
        give(pool, row[AT], row[SIZE] + 1)
        edge = row[NEXT] - 1
        row[:] = 0


@inner
def merge(net, edges, main, pool, heads, n, free, apart, on, wave, flits, put):
    """A link serves n streams, first come, first served: (when it is free again, flits).

    Times are keys without a row. apart: a flit's; on: from a message's last flit, when the link is
    free again, to its standing whole at the link's end.
    """
    mask, shift = (int64(1) << wave.shift) - 1, wave.shift
    carried, keys, ways = int64(0), pool.key, pool.way
    straight, w = uint32(net.straight), uint64(edges[main, AT])
    while True:
        best, least, limit = 0, int64(LAST), int64(LAST)
        for j in range(n):
            key = keys[uint64(heads[j])]
            if key < least:
                best, least, limit = j, key, least
            elif key < limit:
                limit = key
        if least == LAST:
            edges[main, AT] = w
            return free, carried
        at, key = uint64(heads[best]), least
        while True:  # a run of one stream, until it is another one's turn
            i = key & mask
            f = flits[uint64(i & wave.each)]
            free = max(key ^ i, free) + f * apart
            carried += f
            way, key = ways[at], (free + on) | i
            if way >= straight:
                put.key[w], put.way[w] = key, way - straight
                w += uint64(1)
            else:
                if wave.stood.size and net.stop[way] >= 0:
                    wave.stood[wave.block[i] + net.stop[way]] = ((free + on) >> shift) + wave.base
                edges[main, AT] = w
                hand_on(net, edges, way, key, put)
                w = uint64(edges[main, AT])
            at += uint64(1)
            key = keys[at]
            if key >= limit:
                break
        heads[best] = at


@inner
def spread(net, scratch, pool, put, first, end, size):
    """What a link has handed on, `size` keys apart in `put`, becomes streams that wait."""
    for edge in range(first, end):
        begin = (edge - first) * size
        n = scratch.edge[edge, AT] - begin
        scratch.edge[edge, AT] = 0
        if n:
            at = take(pool, n + 1)
            for k in range(n):
                pool.key[at + k], pool.way[at + k] = put.key[begin + k], put.way[begin + k]
            wait(scratch, pool, edge, net.edge_place[edge], at, n)


@inner
def cross_all(net, wire, links, wave, scratch, pool, put, heads, after, now):
    """Touched links in order: merge what comes, hand it on. Returns DONE, TOO_LONG, or GROW where
    there may be no room for what the next link hands on.

    after   int64[places, 3]: place, free, flits
    now     int64[4]: how far it is, changed
    """
    shift, word = wave.shift, now[WORD]
    while word < scratch.touched.size:
        now[WORD] = word
        bits = scratch.touched[word]
        if not bits:
            word += 1
            continue
        place = (word << 6) + lowest(bits)
        n, size = collect(scratch, place, heads)
        first, end = net.place_edge[place], net.place_edge[place + 1]
        now[MOST] = (2 * size + 2 + (1 << FEWEST)) * (end - first)
        if now[MOST] > min(put.key.size, pool.key.size - pool.free[-1]):
            return GROW
        link, kind = net.place_link[place], net.place_kind[place]
        flit_ps, hop_ps = wire[kind, h.FLIT_PS], wire[kind, h.HOP_PS]
        free = max(links[link, h.FREE] - wave.base, 0)
        last = max(now[LATEST], free) + float(wave.longest) * size * flit_ps + hop_ps
        if last >= int64(1) << (62 - shift):
            return TOO_LONG
        for edge in range(first, end):
            scratch.edge[edge, AT] = (edge - first) * size
        free, carried = merge(
            net, scratch.edge, first, pool, heads, n, free << shift, flit_ps << shift,
            (hop_ps - flit_ps) << shift, wave, wave.flits[kind], put,
        )  # fmt: skip
        scratch.touched[word] = bits & (bits - uint64(1))
        give_back(scratch, pool, place)
        spread(net, scratch, pool, put, first, end, size)
        free >>= shift
        row = after[now[PLACES]]
        row[0], row[1], row[2] = link, free, carried
        now[PLACES] += 1
        now[CROSSED] += size
        now[LATEST] = max(now[LATEST], free + max(hop_ps - flit_ps, 0))
    return DONE


@inner
def forget(scratch, pool):
    """Whatever waits."""
    for word in range(scratch.touched.size):
        bits = scratch.touched[word]
        scratch.touched[word] = 0
        while bits:
            give_back(scratch, pool, (word << 6) + lowest(bits))
            bits &= bits - uint64(1)


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
    rows = wave.shape[0]
    if rows == 0:
        return DONE, int64(0), int64(0)
    base = wave[:, h.W_TIME].min()
    shift = int64(1)
    while (1 << shift) < rows:
        shift += 1
    flits, block = np.empty((wire.shape[0], rows), np.int64), np.empty(rows, np.int64)
    begun = np.empty(net.edge_place.size, np.int64)
    n, latest, longest, differ = size_up(
        net, wire, messages, wave, base, scratch, flits, block, begun
    )
    each = (int64(1) << shift) - 1 if differ else int64(0)
    on_its_way = Wave(base, shift, each, longest, flits, block, stood)
    room = 2 * room_for(scratch, begun, n) + 1024
    pool = Pool(np.empty(room, np.int64), np.empty(room, np.uint32), np.zeros(64, np.int64))
    put = Put(np.empty(1024, np.int64), np.empty(1024, np.uint32))
    begin_at_roots(net, messages, wave, base, shift, scratch, pool, begun, n)
    after, heads = np.empty((net.place_link.size, 3), np.int64), np.empty(net.most, np.int64)
    now = np.zeros(5, np.int64)
    now[LATEST] = latest
    while True:
        status = cross_all(net, wire, links, on_its_way, scratch, pool, put, heads, after, now)
        if status != GROW:
            break
        if now[MOST] > put.key.size:
            put = Put(np.empty(2 * now[MOST], np.int64), np.empty(2 * now[MOST], np.uint32))
        else:
            pool = larger(pool, now[MOST])
    if status == TOO_LONG:
        forget(scratch, pool)
        return TOO_LONG, int64(0), int64(0)
    for row in after[: now[PLACES]]:
        links[row[0], h.FREE] = row[1] + base
        links[row[0], h.FLITS] += row[2]
    return DONE, now[LATEST] + base, now[CROSSED]



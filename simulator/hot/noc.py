"""Messages over links without an event queue: links in topological order, each a sorted merge.

For messages whose injection times are all known, over links that do not wait for each other in a
circle and have unbounded buffers. What reaches a link comes from the few links before it, and each
of these hands on in strictly increasing time. So first come, first served is a merge of sorted
streams by (time, tie), and times follow by a running maximum. They are the event queue's, to the
picosecond.

A key packs the time since the wave's earliest message and the message's row in the wave. Beside it
a stream holds the message's way: how many links it goes straight on, and the node behind them. Only
there its tree is looked up, and nodes of one link lie together. Streams last only until their link
has read them.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, njit, uint32, uint64

from simulator.hot import state as h
from simulator.hot.jit import entry, inner
from simulator.hot.streams import (
    FEWEST,
    LAST,
    clear,
    clear_all,
    collect,
    give,
    join,
    larger,
    lowest,
    pool_of,
    size_class,
    take,
    wait,
)

DONE, TOO_LONG, GROW = range(3)
"""Status: TOO_LONG where a wave lasts longer than keys can tell; then nothing has changed."""

SEVERAL = 1 << 31
"""Net.node: not one edge and a way, but SEVERAL + n and the first row of `branch` for n of them."""

WORD, PLACES, CROSSED, LATEST, MOST, STOOD = range(6)  # how far a wave has come


class Net(NamedTuple):
    """Trees as streams. An edge leads from a link to one behind it; a place is a link's rank.

    node        uint64[nodes], by place: the edge over which messages leave, << 32, and their way
    branch      uint64[...]: the same, below roots, tree by tree, and below nodes that do not have
                just one child
    straight    a way is `straight` times the links that go straight on, plus the node behind them
    tree_first  int64[trees + 1]: a tree's rows of branch
    stop        int32[nodes]: what is told when a message stands there, or -1: nothing
    tree_stops  int64[trees]: nodes below its root where something is
    place_edge  int64[places + 1]: edges that begin at a place; on the first one goes straight on
    edge_place  int64[edges]: place that an edge leads to
    place_link  int64[places]
    place_kind  int64[places]
    most        streams at one place: edges that lead to it, or 2
    """

    node: np.ndarray
    branch: np.ndarray
    straight: int
    tree_first: np.ndarray
    stop: np.ndarray
    tree_stops: np.ndarray
    place_edge: np.ndarray
    edge_place: np.ndarray
    place_link: np.ndarray
    place_kind: np.ndarray
    most: int


class Wave(NamedTuple):
    """Messages under way. Keys tell times since `base`, shifted by `shift`, and rows."""

    base: int
    shift: int
    longest: int  # flits of a message
    flits: np.ndarray  # int64[kinds, rows], or [kinds, 1] where all messages are alike
    stood: np.ndarray


@inner
def size_up(net, time, tree, waiting, begun):
    """Sizes of the streams that begin at roots: (how many streams, latest time)."""
    n, latest = int64(0), int64(0)
    for i in range(tree.size):
        if tree[i] < 0:
            continue
        latest = max(latest, time[i])
        for at in range(net.tree_first[tree[i]], net.tree_first[tree[i] + 1]):
            edge = net.branch[at] >> uint64(32)
            if waiting.size[edge] == 0:
                begun[n] = edge
                n += 1
            waiting.size[edge] += 1
    return n, latest


@inner
def room_for(waiting, begun):
    """Keys of the blocks that hold the streams begun."""
    room = int64(0)
    for edge in begun:
        room += int64(1) << (size_class(waiting.size[edge] + 1) + FEWEST)
    return room


@inner
def begin_at_roots(net, time, tree, base, shift, waiting, pool, begun):
    """Messages stand at their roots: the first streams."""
    for edge in begun:
        waiting.at[edge] = take(pool, waiting.size[edge] + 1)
    for i in range(tree.size):
        if tree[i] >= 0:
            key = (time[i] - base) << shift | i
            for at in range(net.tree_first[tree[i]], net.tree_first[tree[i] + 1]):
                join(waiting.at, net.branch[at], key, pool)
    for edge in begun:
        at, size = waiting.at[edge], waiting.size[edge]
        wait(waiting, pool, edge, net.edge_place[edge], at - size, size)


@njit(inline="always")
def earliest(heads, n, keys):
    """The stream whose next message is first, its key, and the one that ends its turn."""
    best, least, limit = 0, int64(LAST), int64(LAST)
    for j in range(n):
        key = keys[uint64(heads[j])]
        if key < least:
            best, least, limit = j, key, least
        elif key < limit:
            limit = key
    return best, least, limit


@inner
def merge(net, next_at, main, pool, heads, n, free, busy, on, wave, flits, put, now):
    """A link serves n streams, first come, first served: (when it is free again, flits). What goes
    straight on joins a stream of `pool`, all else of `put`.

    Times are keys without a row. busy: a flit's, or (flits: None) a message's; on: from a message's
    last flit, when the link is free again, to its standing whole at the link's end.
    """
    mask, keys, ways = (int64(1) << wave.shift) - 1, pool.key, pool.way
    straight, carried = uint32(net.straight), int64(0)
    w, stood = uint64(next_at[main]), uint64(now[STOOD])
    best, least, limit = earliest(heads, n, keys)
    while least < LAST:
        at, key = uint64(heads[best]), least
        while True:  # until it is another one's turn
            i = key & mask
            if flits is None:
                free = max(key ^ i, free) + busy
            else:
                free = max(key ^ i, free) + flits[uint64(i)] * busy
                carried += flits[uint64(i)]
            way, key = ways[at], (free + on) | i
            if way >= straight:
                keys[w], ways[w] = key, way - straight
                w += uint64(1)
            else:
                if wave.stood.size and net.stop[way] >= 0:
                    wave.stood[stood, 0] = (key >> wave.shift) + wave.base
                    wave.stood[stood, 1] = i << 32 | net.stop[way]
                    stood += uint64(1)
                onward = net.node[way]
                edge = onward >> uint64(32)
                if edge == main:
                    keys[w], ways[w] = key, uint32(onward)
                    w += uint64(1)
                elif edge < SEVERAL:
                    join(next_at, onward, key, put)
                else:
                    row = onward & uint64(0xFFFFFFFF)
                    for more in range(row, row + (edge - uint64(SEVERAL))):
                        onward = net.branch[more]
                        if onward >> uint64(32) == main:
                            keys[w], ways[w] = key, uint32(onward)
                            w += uint64(1)
                        else:
                            join(next_at, onward, key, put)
            at += uint64(1)
            key = keys[at]
            if key >= limit:
                break
        heads[best] = at
        if n == 2:
            best, least, limit = 1 - best, limit, key
        else:
            best, least, limit = earliest(heads, n, keys)
    next_at[main], now[STOOD] = w, stood
    return free, carried


@inner
def spread(net, waiting, pool, put, first, end, begin, size):
    """What a link has handed on becomes streams that wait: on the first edge, in a block of `pool`
    for `size` keys; on others, `size` keys apart in `put`."""
    n = waiting.at[first] - begin
    waiting.at[first] = 0
    if n and size_class(n + 1) == size_class(size + 1):
        wait(waiting, pool, first, net.edge_place[first], begin, n)
    else:
        moved(net, waiting, pool, pool, first, begin, n)
        give(pool, begin, size + 1)
    for edge in range(first + 1, end):
        at = (edge - first - 1) * size
        n = waiting.at[edge] - at
        waiting.at[edge] = 0
        moved(net, waiting, pool, put, edge, at, n)


@njit(inline="always")
def moved(net, waiting, pool, of, edge, begin, n):
    """A stream of n keys, if there are any, waits in a block of its size."""
    if n:
        at = take(pool, n + 1)
        for k in range(n):
            pool.key[at + k], pool.way[at + k] = of.key[begin + k], of.way[begin + k]
        wait(waiting, pool, edge, net.edge_place[edge], at, n)


@inner
def cross_all(net, wire, links, wave, waiting, pool, put, heads, after, now):
    """Links where messages wait, in order. Returns DONE, TOO_LONG, or GROW where there may be no
    room for what the next link hands on.

    after   int64[places, 3]: link, when it is free, flits
    now     int64[6]: how far it is, changed
    """
    shift = wave.shift
    while now[WORD] < waiting.touched.size:
        bits = waiting.touched[now[WORD]]
        if not bits:
            now[WORD] += 1
            continue
        place = (now[WORD] << 6) + lowest(bits)
        n, size = collect(waiting, place, heads)
        first, end = net.place_edge[place], net.place_edge[place + 1]
        now[MOST] = (2 * size + 2 + (1 << FEWEST)) * (end - first)
        if now[MOST] > min(put.key.size, pool.key.size - pool.free[-1]):
            return GROW
        link, kind = net.place_link[place], net.place_kind[place]
        flit_ps, on_ps = wire[kind, h.FLIT_PS], wire[kind, h.HOP_PS] - wire[kind, h.FLIT_PS]
        free = max(links[link, h.FREE] - wave.base, 0)
        last = max(now[LATEST], free) + float(wave.longest) * size * flit_ps + max(on_ps, 0)
        if last >= int64(1) << (62 - shift):
            return TOO_LONG
        for edge in range(first + 1, end):
            waiting.at[edge] = (edge - first - 1) * size
        begin = int64(0)
        if first < end:
            begin = waiting.at[first] = take(pool, size + 1)
        free, busy, on = free << shift, flit_ps << shift, on_ps << shift
        flits, main = wave.flits[kind], uint64(first)
        if flits.size == 1:
            busy *= flits[0]
            free, _ = merge(
                net, waiting.at, main, pool, heads, n, free, busy, on, wave, None, put, now
            )
            carried = flits[0] * size
        else:
            free, carried = merge(
                net, waiting.at, main, pool, heads, n, free, busy, on, wave, flits, put, now
            )
        clear(waiting, pool, place)
        if first < end:
            spread(net, waiting, pool, put, first, end, begin, size)
        free >>= shift
        row = after[now[PLACES]]
        row[0], row[1], row[2] = link, free, carried
        now[PLACES] += 1
        now[CROSSED] += size
        now[LATEST] = max(now[LATEST], free + max(on_ps, 0))
    return DONE


@entry
def carry(net, wire, time, tree, flits, links, waiting, stood):
    """Take messages over all links below their roots: (status, when all is quiet, crossings, how
    often one stood at a stop).

    wire      as Fixed.wire
    time      int64[rows]: when a message stands at its root; those over one link rise
    tree      int64[rows]: its tree, or -1 where it has no links
    flits     int64[kinds, rows or more], or [kinds, 1] where all messages are alike
    links     as State.link, changed
    waiting   nothing, before and after
    stood     none, or int64[stops of all messages, 2], filled link by link: when a message stood
              at one, and row << 32 | Net.stop
    """
    rows = tree.size
    if rows == 0:
        return DONE, int64(0), int64(0), int64(0)
    base, shift = time.min(), int64(1)
    while (1 << shift) < rows:
        shift += 1
    begun = np.empty(net.edge_place.size, np.int64)
    n, latest = size_up(net, time, tree, waiting, begun)
    begun = begun[:n]
    pool, put = pool_of(2 * room_for(waiting, begun) + 1024), pool_of(1024)
    begin_at_roots(net, time, tree, base, shift, waiting, pool, begun)
    under_way = Wave(base, shift, flits.max(), flits, stood)
    after, heads = np.empty((net.place_link.size, 3), np.int64), np.empty(net.most, np.int64)
    now = np.zeros(6, np.int64)
    now[LATEST] = latest - base
    status = int64(GROW)
    while status == GROW:
        status = cross_all(net, wire, links, under_way, waiting, pool, put, heads, after, now)
        if now[MOST] > put.key.size:
            put = pool_of(2 * now[MOST])
        elif status == GROW:
            pool = larger(pool, now[MOST])
    if status == TOO_LONG:
        clear_all(waiting, pool)
        return TOO_LONG, int64(0), int64(0), int64(0)
    for k in range(now[PLACES]):
        link = after[k, 0]
        links[link, h.FREE] = after[k, 1] + base
        links[link, h.FLITS] += after[k, 2]
    return DONE, now[LATEST] + base, now[CROSSED], now[STOOD]

"""Streams of messages that wait in front of links, and the room they take.

A stream holds keys, rising, and beside each the way that its message goes on; behind the last one
stands LAST. It comes over an edge, from one link to the next (simulator.hot.noc), and waits at the
place of the link that will read it. Its room is a block of a pool; what was read last is taken
again first, so streams that come and go stay in the cache.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, njit, uint32, uint64

from simulator.hot.jit import inner

LAST = (1 << 63) - 1
"""Key behind the end of a stream."""

FEWEST = 3
"""The smallest block has room for 1 << FEWEST keys; others for 2, 4, 8 ... times as many."""

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_LOWEST = np.zeros(64, np.int64)
_LOWEST[[(0x03F79D71B4CB0A89 << bit & (1 << 64) - 1) >> 58 for bit in range(64)]] = range(64)


class Waiting(NamedTuple):
    """Streams that wait. Zeros where none does.

    at       int64[edges + 1]: where an edge's stream begins; the last edge is nobody's
    size     int64[edges]
    next     int64[edges]: 1 + another edge whose stream waits at the same place
    first    int64[places]: 1 + an edge whose stream waits there
    touched  uint64[places / 64 + 1]: places where streams wait
    """

    at: np.ndarray
    size: np.ndarray
    next: np.ndarray
    first: np.ndarray
    touched: np.ndarray


class Pool(NamedTuple):
    """Room for streams.

    key   int64[room]: a free block's first one is the next free block of its size (1 + where)
    way   uint32[room]
    free  int64[64]: a free block of every size (1 + where); last, where untouched room begins
    """

    key: np.ndarray
    way: np.ndarray
    free: np.ndarray


@njit
def pool_of(room):
    """A pool that is all free."""
    return Pool(np.empty(room, np.int64), np.empty(room, np.uint32), np.zeros(64, np.int64))


@njit
def larger(pool, more):
    """The same pool with room for some more keys, and twice as large at least."""
    grown = pool_of(pool.key.size + max(pool.key.size, more))
    grown.key[: pool.key.size], grown.way[: pool.key.size] = pool.key, pool.way
    grown.free[:] = pool.free
    return grown


@njit(inline="always")
def lowest(bits):
    """Position of the lowest set bit of an uint64 that has one (Leiserson et al., 1998)."""
    return _LOWEST[((bits & (~bits + uint64(1))) * _DE_BRUIJN) >> uint64(58)]


@njit(inline="always")
def size_class(n):
    """Of the smallest block that holds n keys."""
    c = 0
    while (int64(1) << (c + FEWEST)) < n:
        c += 1
    return c


@njit(inline="always")
def take(pool, n):
    """Where a block for n keys is."""
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
    """A block of n keys is free."""
    c = size_class(n)
    pool.key[at] = pool.free[c]
    pool.free[c] = at + 1


@njit(inline="always")
def join(next_at, onward, key, streams):
    """A message joins a stream: onward is an edge, << 32, and the message's way behind it."""
    edge = onward >> uint64(32)
    at = uint64(next_at[edge])
    streams.key[at], streams.way[at] = key, uint32(onward)
    next_at[edge] = at + uint64(1)


@njit(inline="always")
def wait(waiting, pool, edge, place, at, size):
    """A stream is whole, and waits."""
    pool.key[at + size] = LAST
    waiting.at[edge], waiting.size[edge], waiting.next[edge] = at, size, waiting.first[place]
    waiting.first[place] = edge + 1
    waiting.touched[place >> 6] |= uint64(1) << uint64(place & 63)


@inner
def collect(waiting, place, heads):
    """Where streams that wait at a place begin: (how many, their keys). One is made two: its own
    end is an empty one."""
    n, total, edge = 0, int64(0), waiting.first[place] - 1
    while edge >= 0:
        heads[n] = waiting.at[edge]
        total += waiting.size[edge]
        n += 1
        edge = waiting.next[edge] - 1
    if n == 1:
        heads[1] = heads[0] + total
    return max(n, 2), total


@inner
def clear(waiting, pool, place):
    """Nothing waits at a place any more."""
    edge = waiting.first[place] - 1
    waiting.first[place] = 0
    waiting.touched[place >> 6] &= ~(uint64(1) << uint64(place & 63))
    while edge >= 0:
        give(pool, waiting.at[edge], waiting.size[edge] + 1)
        another = waiting.next[edge] - 1
        waiting.at[edge], waiting.size[edge], waiting.next[edge] = 0, 0, 0
        edge = another


@inner
def clear_all(waiting, pool):
    """Nothing waits anywhere."""
    for word in range(waiting.touched.size):
        while waiting.touched[word]:
            clear(waiting, pool, (word << 6) + lowest(waiting.touched[word]))

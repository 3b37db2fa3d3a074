"""A binary heap of events, int64[n, 3], ordered by (time, tie, what).

tie packs (source core, per-source sequence), so equal times have one order; what
packs the event itself and orders the copies of one multicast message.
"""

from numba import njit

from simulator.hot.jit import entry


@njit(inline="always")
def before(t1, k1, w1, t2, k2, w2):
    """Is event 1 earlier?"""
    if t1 != t2:
        return t1 < t2
    if k1 != k2:
        return k1 < k2
    return w1 < w2


@entry
def push(heap, n, t, k, w):
    """Insert (t, k, w) into a heap of n events; the array must have room."""
    i = n
    while i > 0:
        up = (i - 1) >> 1
        if not before(t, k, w, heap[up, 0], heap[up, 1], heap[up, 2]):
            break
        heap[i, 0], heap[i, 1], heap[i, 2] = heap[up, 0], heap[up, 1], heap[up, 2]
        i = up
    heap[i, 0], heap[i, 1], heap[i, 2] = t, k, w


@entry
def pop(heap, n):
    """Remove the first of n events; it must have been read from row 0 before."""
    last = n - 1
    put_first(heap, last, heap[last, 0], heap[last, 1], heap[last, 2])


@entry
def put_first(heap, n, t, k, w):
    """Put (t, k, w) in the place of the first of n events."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        right = child + 1
        if right < n and before(
            heap[right, 0], heap[right, 1], heap[right, 2],
            heap[child, 0], heap[child, 1], heap[child, 2],
        ):  # fmt: skip
            child = right
        if not before(heap[child, 0], heap[child, 1], heap[child, 2], t, k, w):
            break
        heap[i, 0], heap[i, 1], heap[i, 2] = heap[child, 0], heap[child, 1], heap[child, 2]
        i = child
    heap[i, 0], heap[i, 1], heap[i, 2] = t, k, w

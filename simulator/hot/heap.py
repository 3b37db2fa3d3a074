"""A binary heap of events in three int64 arrays, ordered by (time, tie, what).

tie packs (source core, per-source sequence), so equal times have one order; what
packs the event itself and orders the copies of one multicast message.
"""

from numba import njit


@njit(cache=True, inline="always")
def before(t1, k1, w1, t2, k2, w2):
    """Is event 1 earlier?"""
    if t1 != t2:
        return t1 < t2
    if k1 != k2:
        return k1 < k2
    return w1 < w2


@njit(cache=True)
def push(time, tie, what, n, t, k, w):
    """Insert (t, k, w) into a heap of n events; the arrays must have room."""
    i = n
    while i > 0:
        up = (i - 1) >> 1
        if not before(t, k, w, time[up], tie[up], what[up]):
            break
        time[i], tie[i], what[i] = time[up], tie[up], what[up]
        i = up
    time[i], tie[i], what[i] = t, k, w


@njit(cache=True)
def pop(time, tie, what, n):
    """Remove the first of n events; it must have been read from index 0 before."""
    last = n - 1
    t, k, w = time[last], tie[last], what[last]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= last:
            break
        right = child + 1
        if right < last and before(
            time[right], tie[right], what[right], time[child], tie[child], what[child]
        ):
            child = right
        if not before(time[child], tie[child], what[child], t, k, w):
            break
        time[i], tie[i], what[i] = time[child], tie[child], what[child]
        i = child
    time[i], tie[i], what[i] = t, k, w

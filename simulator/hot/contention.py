"""One step's messages over links and into cores, first come, first served; no event queue.

All messages of a step are known when it begins, and dimension-order routes wait for each other in
no circle. So servers (links, then cores) are taken in an order in which nothing comes back; what
reaches one is a few sorted runs, one per server before it, and is merged. Times are those of an
event queue ordered by (time, message), to the picosecond.
"""

from typing import NamedTuple

import numpy as np

from simulator.hot.jit import entry, inner

MESSAGE_BITS = 24
"""Of a key: time << MESSAGE_BITS | number of the message in the step."""

(ACCESS, UPDATE, FIRE, SEND) = range(4)  # Routes.cost: ps of a neuron, and of a message sent


class Routes(NamedTuple):
    """Where spikes go, and what that takes; never written. A way leads from a part to one core."""

    part: np.ndarray  # int64[part, 4]: core, first and end of its neurons, 1 for the host's
    way: np.ndarray  # int64[part + 1]: its ways
    path: np.ndarray  # int64[way + 1]: servers of a way
    server: np.ndarray  # int64[...], ranks, rising along a path; the last one is a core
    busy_ps: np.ndarray  # int64[...] beside it: how long a message holds it
    on_ps: np.ndarray  # int64[...] and when, from its start, the next one has it
    cost: np.ndarray  # int64[4]


@inner
def merge(a, b, lo, mid, hi):
    """Sorted a[lo:mid] and a[mid:hi] into b[lo:hi]."""
    i, j = lo, mid
    for k in range(lo, hi):
        if j >= hi or (i < mid and a[i] < a[j]):
            b[k] = a[i]
            i += 1
        else:
            b[k] = a[j]
            j += 1


@inner
def in_order(a, b, lo, hi):
    """Sort a[lo:hi], made of few sorted runs; b is scratch of the same length."""
    while True:
        runs, start = 0, lo
        while start < hi:
            mid = start + 1
            while mid < hi and a[mid - 1] < a[mid]:
                mid += 1
            if mid == hi and runs == 0:
                return
            end = mid
            if mid < hi:
                end = mid + 1
                while end < hi and a[end - 1] < a[end]:
                    end += 1
            merge(a, b, start, mid, end)
            runs, start = runs + 1, end
        for k in range(lo, hi):
            a[k] = b[k]


@inner
def room(f, fired, first):
    """first[server] = where its messages begin; returns how many messages there are."""
    first[:] = 0
    messages = 0
    for part in range(f.part.shape[0]):
        n = fired[part]
        if n:
            for w in range(f.way[part], f.way[part + 1]):
                messages += n
                for at in range(f.path[w], f.path[w + 1]):
                    first[f.server[at] + 1] += n
    for server in range(first.size - 1):
        first[server + 1] += first[server]
    return messages


@inner
def leave(f, spikes, active, fired, clock, keys, filled, cursor):
    """Every core takes its neurons in order; a neuron that fires sends a message on each way."""
    m = 0
    access, update, fire, send = f.cost[ACCESS], f.cost[UPDATE], f.cost[FIRE], f.cost[SEND]
    for part in range(f.part.shape[0]):
        core, host = f.part[part, 0], f.part[part, 3]
        lo, hi = f.part[part, 1], f.part[part, 2]
        now = clock[core]
        if host and not fired[part]:
            continue
        for j in range(lo, hi):
            if not host:
                now += access + active[j] * update
            if spikes[j]:
                if not host:
                    now += fire
                for w in range(f.way[part], f.way[part + 1]):
                    now += send
                    at = f.path[w]
                    cursor[m] = at
                    server = f.server[at]
                    keys[filled[server]] = (now << MESSAGE_BITS) | m
                    filled[server] += 1
                    m += 1
        clock[core] = now


@entry
def step_ends(f, spikes, active, fired, first, filled, clock, keys, scratch, cursor):
    """When the last neuron and the last message of each step are done: int64[step], or -1 where a
    step has more messages than keys can tell.

    spikes, active   uint8[step, neuron], the host's channels first
    fired            int64[step, part] the number of spikes in each
    first, filled    scratch, int64[server + 1]; clock int64[core + 1]
    keys, scratch    int64, room for all messages at all servers; cursor int64[message]
    """
    ends = np.empty(spikes.shape[0], np.int64)
    most = (1 << MESSAGE_BITS) - 1
    for t in range(spikes.shape[0]):
        messages = room(f, fired[t], first)
        if messages > most:
            ends[t] = -1
            continue
        for server in range(first.size):
            filled[server] = first[server]
        clock[:] = 0
        leave(f, spikes[t], active[t], fired[t], clock, keys, filled, cursor)
        end = clock.max()
        for server in range(first.size - 1):
            lo, hi = first[server], filled[server]
            if lo == hi:
                continue
            in_order(keys, scratch, lo, hi)
            free = np.int64(0)
            for k in range(lo, hi):
                m = keys[k] & most
                start = max(keys[k] >> MESSAGE_BITS, free)
                at = cursor[m]
                free = start + f.busy_ps[at]
                if f.on_ps[at] >= 0:
                    cursor[m] = at + 1
                    to = f.server[at + 1]
                    keys[filled[to]] = ((start + f.on_ps[at]) << MESSAGE_BITS) | m
                    filled[to] += 1
            end = max(end, free)
        ends[t] = end
    return ends

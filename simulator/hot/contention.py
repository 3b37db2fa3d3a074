"""The messages of a step over links and into cores, first come, first served; no event queue.

All messages of a step are known when it begins, and dimension-order routes wait for each other in
no circle. So servers (links, then cores) are taken in an order in which nothing comes back; what
reaches one is a few sorted runs, one per server before it, and is merged. Times are those of an
event queue ordered by (time, message), to the picosecond.

A message has a number for every core that it goes to. Over links that several of its copies share
the first of these passes, and where the way forks the others set out.

A step begins at rest, so that steps are independent of each other: threads may take some each.
"""

from typing import NamedTuple

import numpy as np

from simulator.hot.jit import inner, released

KEY_BITS = 62
"""Of a key: time << some bits | number of the copy in the step."""

# columns of Routes.part: its core among those in use; its members; ps of each of them, of one with
# something to do, of one that fires
(P_CORE, P_FIRST, P_END, P_ACCESS, P_UPDATE, P_FIRE) = range(6)
# columns of Routes.way: copies; ranges of stops where it begins: links, sinks beside the first
# link, sinks of the same core
(W_COPIES, W_LINK, W_LINK_END, W_SINK, W_SINK_END, W_LOCAL, W_LOCAL_END) = range(7)
# columns of Routes.stop: its server; ps that a message holds it, and from its start until the next
# stops have it; these (links, sinks); the number of its first copy after that of its parent's.
# S_ON of a sink: where what its lists meet stands in `met`, less the member; else NO_LIST
(S_SERVER, S_HELD, S_ON, S_LINK, S_LINK_END, S_SINK, S_SINK_END, S_LEAD) = range(8)
NO_LIST = -1 << 62


class Routes(NamedTuple):
    """Who sends, in which order, and where it goes; never written.

    A member of a part that fires sends one message on each of the part's ways. A way is a tree of
    stops: links, and at its leaves sinks, which are cores.
    """

    part: np.ndarray  # int64[part, 6]
    part_way: np.ndarray  # int64[part + 1] its ways
    way: np.ndarray  # int64[way, 7]
    reach: np.ndarray  # int64[way + 1] where its servers begin in `reached`
    reached: np.ndarray  # int64[...] servers of all its stops
    stop: np.ndarray  # int64[stop, 8]
    met: np.ndarray  # int32[...] synapses that a message of a member meets, where they are lists
    n_links: int  # servers that are links; then come the cores in use
    n_cores: int
    send: int  # ps of a core for a message
    in_series: int  # 1: a core takes in messages when its own members are done
    synop: int  # ps of a core for `lanes` synapses of a list
    lanes: int


class Watched(NamedTuple):
    """When copies left and were served, how long, and at which stop: int64[copies of all steps];
    none where nobody asked. `begin` int64[step + 1]: a step's copies."""

    begin: np.ndarray
    left: np.ndarray
    served: np.ndarray
    held: np.ndarray
    stop: np.ndarray


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
    """first[server] = where its messages begin."""
    first[:] = 0
    for part in range(f.part.shape[0]):
        n = fired[part]
        if n:
            for w in range(f.part_way[part], f.part_way[part + 1]):
                for at in range(f.reach[w], f.reach[w + 1]):
                    first[f.reached[at] + 1] += n
    for server in range(first.size - 1):
        first[server + 1] += first[server]


@inner
def hand_on(f, lo, hi, copy, key, keys, filled, at):
    """A message's copies from number `copy` on are before stops lo .. hi at a time, shifted."""
    for stop in range(lo, hi):
        own = copy + f.stop[stop, S_LEAD]
        server = f.stop[stop, S_SERVER]
        at[own] = stop
        keys[filled[server]] = key + own
        filled[server] += 1


@inner
def leave(f, fires, active, fired, shift, clock, keys, filled, at, who, left):
    """Every core takes its members in order; one that fires sends a message on each way. who: the
    member of every copy, where that matters."""
    copy = 0
    for part in range(f.part.shape[0]):
        row = f.part[part]
        access, update, fire = row[P_ACCESS], row[P_UPDATE], row[P_FIRE]
        if not fired[part] and not update:
            clock[row[P_CORE]] += access * (row[P_END] - row[P_FIRST])
            continue
        now = clock[row[P_CORE]]
        for j in range(row[P_FIRST], row[P_END]):
            now += access
            if update:
                now += active[j] * update
            if fires[j]:
                now += fire
                for w in range(f.part_way[part], f.part_way[part + 1]):
                    now += f.send
                    way, key = f.way[w], now << shift
                    lo, hi = way[W_LOCAL], way[W_LOCAL_END]
                    hand_on(f, lo, hi, copy, key, keys, filled, at)
                    others = copy + hi - lo
                    hand_on(f, way[W_SINK], way[W_SINK_END], others, key, keys, filled, at)
                    hand_on(f, way[W_LINK], way[W_LINK_END], others, key, keys, filled, at)
                    if left.size:
                        left[copy] = now
                    if f.met.size:
                        who[copy : copy + way[W_COPIES]] = j
                    copy += way[W_COPIES]
        clock[row[P_CORE]] = now


@inner
def step(
    f, fires, active, fired, shift, first, filled, clock, keys, scratch, at, who, passed, met, left,
    served, held, ended,
):  # fmt: skip
    """When the last member and the last message of a step are done; -1 where it lasts longer than
    keys can tell."""
    mask, longest = (np.int64(1) << shift) - 1, np.int64(1) << (KEY_BITS - shift)
    room(f, fired, first)
    for server in range(first.size):
        filled[server] = first[server]
    clock[:] = 0
    leave(f, fires, active, fired, shift, clock, keys, filled, at, who, left)
    end = np.int64(0)
    for core in range(clock.size):
        end = max(end, clock[core])
    for server in range(first.size - 1):
        lo, hi = first[server], filled[server]
        if lo == hi:
            continue
        in_order(keys, scratch, lo, hi)
        free = np.int64(0)
        if f.in_series and server >= f.n_links:
            free = clock[server - f.n_links]
        for k in range(lo, hi):
            copy = keys[k] & mask
            stop = f.stop[at[copy]]
            passed[at[copy]] += 1
            start = max(keys[k] >> shift, free)
            free = start + stop[S_HELD]
            if server >= f.n_links and stop[S_ON] != NO_LIST:
                n = f.met[stop[S_ON] + who[copy]]
                free += (n + f.lanes - 1) // f.lanes * f.synop
                met[0, at[copy]] += n
                met[1, at[copy]] += (n + f.lanes - 1) // f.lanes
            if server < f.n_links:
                key = (start + stop[S_ON]) << shift
                hand_on(f, stop[S_SINK], stop[S_SINK_END], copy, key, keys, filled, at)
                hand_on(f, stop[S_LINK], stop[S_LINK_END], copy, key, keys, filled, at)
            elif served.size:
                served[copy], held[copy], ended[copy] = start, free - start, at[copy]
        end = max(end, free)
        if end >= longest:
            return -1
    return end


@released
def step_ends(f, steps, fires, active, fired, shift, n_stops, n_copies, ends, passed, met, watched):
    """When the last member and the last message of each step are done: ends int64[step], or -1
    where a step lasts longer than keys can tell.

    steps           those to take, int64[...]
    fires, active   uint8[step, member]; active: who has something to do, any row where that is free
    fired           int64[step, part] how many fire
    shift           bits that tell the copies of a step apart
    n_stops, n_copies   of the step with most: stops that copies pass, and copies
    passed          int64[stop], counts messages
    met             int64[2, stop], counts synapses of lists that they meet, and how many times as
                    many as a core has lanes
    """
    n_servers = f.n_links + f.n_cores
    first, filled = np.empty(n_servers + 1, np.int64), np.empty(n_servers + 1, np.int64)
    clock, at = np.empty(f.n_cores, np.int64), np.empty(n_copies, np.int64)
    who = np.empty(n_copies if f.met.size else 0, np.int64)
    keys, scratch = np.empty(n_stops, np.int64), np.empty(n_stops, np.int64)
    for t in steps:
        lo = hi = 0
        if watched.begin.size:
            lo, hi = watched.begin[t], watched.begin[t + 1]
        left, served, ended = watched.left[lo:hi], watched.served[lo:hi], watched.stop[lo:hi]
        held = watched.held[lo:hi]
        ends[t] = step(
            f, fires[t], active[t % active.shape[0]], fired[t], shift, first, filled, clock,
            keys, scratch, at, who, passed, met, left, served, held, ended,
        )  # fmt: skip

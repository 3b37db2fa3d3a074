"""The messages of a step over links and into cores, first come, first served; no event queue.

All messages of a step are known when it begins. Each core sends its own in order over the one link
that leads away from it; simulator.hot.noc takes them over all others. What reaches a core is a few
sorted runs, one per link before it, and is merged. Times are those of an event queue ordered by
(time, message), to the picosecond.

A step begins at rest, so that steps are independent of each other: threads may take some each.
"""

from typing import NamedTuple

import numpy as np
from numba import int64, uint64

from simulator.hot import state as h
from simulator.hot.jit import inner, released
from simulator.hot.noc import DONE, Net, carry
from simulator.hot.streams import Waiting

KEY_BITS = 62
"""Of a key: time << some bits | number of the message in the step."""

# columns of Routes.part: its core among those in use; its members; ps of each of them, of one with
# something to do, of one that fires
(P_CORE, P_FIRST, P_END, P_ACCESS, P_UPDATE, P_FIRE) = range(6)
# columns of Routes.way: its tree, or -1 where no link leads away; its first link; its first sinks
# behind that and on the core itself, or -1; the kind of its messages
(W_TREE, W_LINK, W_ROOT, W_LOCAL, W_KIND) = range(5)
# columns of Routes.kind: ps that one holds its first link, and until it stands behind it; flits
# there; ps that its sums take a core
(M_HELD, M_ON, M_FLITS, M_SUMS) = range(4)
# columns of Routes.sink: ps that a spike takes it, or AS_LONG as its sums; where what its lists
# meet stands in `met`, less the member, or NO_LIST
(K_HELD, K_LIST) = range(2)
AS_LONG, NO_LIST = -1, -1 << 62
# columns of what sinks counted: messages, ps of their cores, synapses of lists, these in `lanes`
GOT, BUSY, MET, WAVES = range(4)
# columns of what is watched: message, sink, ps when it was served and how long
V_MESSAGE, V_SINK, V_SERVED, V_HELD = range(4)


class Routes(NamedTuple):
    """Who sends, in which order, and where it goes; never written.

    A member of a part that fires sends one message on each of the part's ways. A way is a tree of
    links. At some of its nodes, and on the sender's own core, there are sinks, one after another.
    """

    part: np.ndarray  # int64[part, 6]
    part_way: np.ndarray  # int64[part + 1] its ways
    way: np.ndarray  # int32[way, 5]
    kind: np.ndarray  # int64[kind of message, 4]
    flits: np.ndarray  # int64[kind of link, kind of message], or [..., 1] where all are alike
    wire: np.ndarray  # as Fixed.wire
    net: Net  # of a stop it tells the first sink
    at: np.ndarray  # int32[sink, 2] its core << 1, 1 more where the next sink is at another stop;
    # its number where a core's sinks lie together
    sink: np.ndarray  # int64[sink, 2], so numbered, as are those told of
    met: np.ndarray  # int32[...] synapses that a message of a member meets, where they are lists
    n_cores: int  # in use
    send: int  # ps of a core for a message
    in_series: int  # 1: a core takes in messages when its own members are done
    synop: int  # ps of a core for `lanes` synapses of a list
    lanes: int


class Watched(NamedTuple):
    """What happened, step after step; none where nobody asked.

    sent    int64[step + 1]: a step's messages
    taken   int64[step + 1]: what its cores took in
    left    int64[message]: ps when it left its core
    served  int64[..., 4]
    """

    sent: np.ndarray
    taken: np.ndarray
    left: np.ndarray
    served: np.ndarray


class Room(NamedTuple):
    """Of one step at a time.

    time, tree, way, member   int64[message]
    flits       int64[kinds, message], or [kinds, 1]
    stood       int64[..., 2]: when a message stood at a stop, and message << 32 | its first sink
    key, spare  int64[...]; sink, spare_sink int32[...]: what reaches cores, core by core
    begin       int64[core] where what reaches each begins; never written
    end         int64[core] and ends
    clock       int64[core]
    waiting     nothing
    links       as State.link; of all steps: FLITS
    counted     int64[sink, 4] of all steps
    """

    time: np.ndarray
    tree: np.ndarray
    way: np.ndarray
    member: np.ndarray
    flits: np.ndarray
    stood: np.ndarray
    key: np.ndarray
    spare: np.ndarray
    sink: np.ndarray
    spare_sink: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    clock: np.ndarray
    waiting: Waiting
    links: np.ndarray
    counted: np.ndarray


@inner
def merge(a, a_sink, b, b_sink, lo, mid, hi):
    """Sorted a[lo:mid] and a[mid:hi] into b[lo:hi], equals in their order; sinks go along.

    Neither may be empty. Which comes next is no branch: nobody could foretell it.
    """
    i, j, k, mid, hi = uint64(lo), uint64(mid), uint64(lo), uint64(mid), uint64(hi)
    one, other = a[i], a[j]
    while i < mid and j < hi:
        later = other < one
        b[k], b_sink[k] = other if later else one, a_sink[j if later else i]
        i, j, k = i + uint64(not later), j + uint64(later), k + uint64(1)
        one, other = a[i], a[min(j, hi - uint64(1))]
    i = i if i < mid else j
    while k < hi:
        b[k], b_sink[k] = a[i], a_sink[i]
        i, k = i + uint64(1), k + uint64(1)


@inner
def run_end(a, lo, hi):
    """Where the sorted run that begins at lo ends."""
    end = lo + 1
    while end < hi and a[end - 1] <= a[end]:
        end += 1
    return end


@inner
def in_order(a, a_sink, b, b_sink, lo, hi):
    """Sort a[lo:hi], made of few sorted runs, equals in their order; b is scratch."""
    while run_end(a, lo, hi) < hi:
        start = lo
        while start < hi:
            mid = run_end(a, start, hi)
            if mid == hi:
                for k in range(start, hi):
                    b[k], b_sink[k] = a[k], a_sink[k]
                break
            end = run_end(a, mid, hi)
            merge(a, a_sink, b, b_sink, start, mid, end)
            start = end
        for k in range(lo, hi):
            a[k], a_sink[k] = b[k], b_sink[k]


@inner
def leave(f, fires, active, fired, room, left):
    """Every core takes its members in order; one that fires sends a message on each way. Returns
    how many messages, how many stops they have reached, and when the last first link is free."""
    n, stood, end = 0, 0, int64(0)
    alike = room.flits.shape[1] == 1
    for part in range(f.part.shape[0]):
        row = f.part[part]
        core, access, update, fire = row[P_CORE], row[P_ACCESS], row[P_UPDATE], row[P_FIRE]
        if not fired[part] and not update:
            room.clock[core] += access * (row[P_END] - row[P_FIRST])
            continue
        now = room.clock[core]
        for j in range(row[P_FIRST], row[P_END]):
            now += access
            if update:
                now += active[j] * update
            if not fires[j]:
                continue
            now += fire
            for w in range(f.part_way[part], f.part_way[part + 1]):
                now += f.send
                way, kind = f.way[w], f.kind[f.way[w, W_KIND]]
                room.way[n], room.member[n], room.tree[n] = w, j, way[W_TREE]
                if left.size:
                    left[n] = now
                if way[W_LOCAL] >= 0:
                    room.stood[stood, 0], room.stood[stood, 1] = now, n << 32 | way[W_LOCAL]
                    stood += 1
                if way[W_TREE] >= 0:
                    link = way[W_LINK]
                    start = max(now, room.links[link, h.FREE])
                    room.links[link, h.FREE] = start + kind[M_HELD]
                    room.links[link, h.FLITS] += kind[M_FLITS]
                    room.time[n] = start + kind[M_ON]
                    end = max(end, start + kind[M_HELD], start + kind[M_ON])
                    if way[W_ROOT] >= 0:
                        room.stood[stood, 0] = room.time[n]
                        room.stood[stood, 1] = n << 32 | way[W_ROOT]
                        stood += 1
                else:
                    room.time[n] = now
                if not alike:
                    for of in range(f.flits.shape[0]):
                        room.flits[of, n] = f.flits[of, way[W_KIND]]
                n += 1
        room.clock[core] = now
    return n, stood, end


@inner
def by_core(f, stood, shift, room):
    """What stood at stops reaches the cores there: room.key and room.sink, core by core."""
    end = room.end
    for core in range(end.size):
        end[core] = room.begin[core]
    for k in range(stood.shape[0]):
        what = uint64(stood[k, 1])
        key, sink = stood[k, 0] << shift | int64(what >> uint64(32)), what & uint64(0xFFFFFFFF)
        while True:
            at = f.at[sink, 0]
            place = uint64(end[at >> 1])
            room.key[place], room.sink[place] = key, f.at[sink, 1]
            end[at >> 1] = place + uint64(1)
            if at & 1:
                break
            sink += uint64(1)


@inner
def take_in(f, core, shift, room, served):
    """A core takes in what has reached it, in order: when it is done with that. served: a row for
    each, or none."""
    lo, hi = room.begin[core], room.end[core]
    in_order(room.key, room.sink, room.spare, room.spare_sink, lo, hi)
    mask = (int64(1) << shift) - 1
    counted, free = room.counted, room.clock[core] if f.in_series else int64(0)
    for k in range(lo, hi):
        message, sink = room.key[k] & mask, room.sink[k]
        start = max(room.key[k] >> shift, free)
        held, lists = f.sink[sink, K_HELD], f.sink[sink, K_LIST]
        if held == AS_LONG:
            held = f.kind[f.way[room.way[message], W_KIND], M_SUMS]
        if lists != NO_LIST:
            n = f.met[lists + room.member[message]]
            waves = n if f.lanes == 1 else (n + f.lanes - 1) // f.lanes  # divisions are slow
            held += waves * f.synop
            counted[sink, MET] += n
            counted[sink, WAVES] += waves
        counted[sink, GOT] += 1
        counted[sink, BUSY] += held
        free = start + held
        if served.size:
            row = served[k - lo]
            row[V_MESSAGE], row[V_SINK], row[V_SERVED], row[V_HELD] = message, sink, start, held
    return free


@released
def step_ends(f, steps, fires, active, fired, shift, room, ends, watched):
    """When the last member and the last message of each step are done: ends int64[step], or -1
    where a step lasts longer than keys can tell.

    steps           those to take, int64[...]
    fires, active   uint8[step, member]; active: who has something to do, any row where that is free
    fired           int64[step, part] how many fire
    shift           bits that tell the messages of a step apart
    room            for the step with most
    """
    longest = int64(1) << (KEY_BITS - shift)
    for t in steps:
        left, served = watched.left, watched.served
        if watched.sent.size:
            left = left[watched.sent[t] : watched.sent[t + 1]]
            served = served[watched.taken[t] : watched.taken[t + 1]]
        room.clock[:] = 0
        room.links[:, h.FREE] = 0
        n, stood, end = leave(f, fires[t], active[t % active.shape[0]], fired[t], room, left)
        status, quiet, _, more = carry(
            f.net, f.wire, room.time[:n], room.tree[:n], room.flits, room.links, room.waiting,
            room.stood[stood:],
        )  # fmt: skip
        ends[t] = -1
        end = max(end, quiet)
        for core in range(f.n_cores):
            end = max(end, room.clock[core])
        if status != DONE or end >= longest:
            continue
        by_core(f, room.stood[: stood + more], shift, room)
        for core in range(f.n_cores):
            end = max(end, take_in(f, core, shift, room, served))
            if served.size:
                served = served[room.end[core] - room.begin[core] :]
        if end < longest:
            ends[t] = end

"""The event loop: messages hop, cores serve, tasks fire; exact integer picoseconds.

Events are ordered by (time, source core, per-source sequence). A link serves its
messages first come, first served; a fork copies to every output; a core serves in
series. A message for a token without a free accumulator set waits in a side queue
of its (task, token) and comes back when the set is released.
"""

from numba import njit

from simulator.hot.fire import MARKER, PARTIAL, SPIKE, fail, fire, fire_all, needed, schedule, trace
from simulator.hot.heap import pop
from simulator.hot.state import (
    ARRIVE,
    E_ACCUMULATOR,
    E_LATE,
    E_LOST_SPIKES,
    E_NO_AXON,
    E_NO_NEURON,
    E_TOO_MANY,
    EMPTY,
    ERROR,
    GROW,
    HOP,
    INDEX_SHIFT,
    KIND_SHIFT,
    MASK,
    PARK,
    PAUSE,
    R_ERROR,
    R_EVENTS,
    R_FREE,
    R_FREE_PARKED,
    R_FREE_VALUES,
    R_HEAP,
    R_NOW,
    R_READY,
    R_TRACE,
    READY,
    T_SERVE,
    TRACE_FULL,
)

INT32_MAX = 2147483647


@njit(cache=True)
def start_token(f, s, task, token, time):
    """The host starts a token: its embedding leaves at `time`."""
    return fire(f, s, task, token, time)


@njit(cache=True)
def hop(f, s, node, m, now):
    """Message m stands whole at a node's router: hand it to its sinks and onward links."""
    for sink in range(f.node_first_sink[node], f.node_last_sink[node]):
        schedule(s, now, s.m_tie[m], (ARRIVE << KIND_SHIFT) | (sink << INDEX_SHIFT) | m)
    for child in range(f.node_first_child[node], f.node_last_child[node]):
        link = f.node_link[child]
        k = f.link_kind[link]
        flits = s.m_times[m] * ((s.m_bits[m] + f.flit_bits[k] - 1) // f.flit_bits[k])
        start = max(now, s.link_free[link])
        s.link_free[link] = start + flits * f.flit_ps[k]
        s.link_flits[link] += flits
        arrive = start + f.hop_ps[k] + (flits - 1) * f.flit_ps[k]
        schedule(s, arrive, s.m_tie[m], (HOP << KIND_SHIFT) | (child << INDEX_SHIFT) | m)


@njit(cache=True)
def drop_reference(s, m):
    """One sink is done with a message; the last one frees it."""
    s.m_refs[m] -= 1
    if s.m_refs[m] == 0:
        if s.m_store[m] >= 0:
            s.values_free[s.reg[R_FREE_VALUES]] = s.m_store[m]
            s.reg[R_FREE_VALUES] += 1
        s.m_free[s.reg[R_FREE]] = m
        s.reg[R_FREE] += 1


@njit(cache=True)
def park(s, task, token, sink, m):
    """Wait for an accumulator set, behind those of the same token."""
    s.reg[R_FREE_PARKED] -= 1
    p = s.p_free[s.reg[R_FREE_PARKED]]
    s.p_message[p], s.p_sink[p], s.p_next[p] = m, sink, -1
    bucket = token % PARK
    if s.park_first[task, bucket] < 0:
        s.park_first[task, bucket] = p
    else:
        s.p_next[s.park_last[task, bucket]] = p
    s.park_last[task, bucket] = p


@njit(cache=True)
def release(f, s, task, now):
    """A set is free: let the parked messages of the newly admitted token arrive now."""
    s.done[task] += 1
    token = s.done[task] + f.slots[0] - 1
    bucket = token % PARK
    p = s.park_first[task, bucket]
    s.park_first[task, bucket] = -1
    while p >= 0:
        following = s.p_next[p]
        m, sink = s.p_message[p], s.p_sink[p]
        s.p_free[s.reg[R_FREE_PARKED]] = p
        s.reg[R_FREE_PARKED] += 1
        if s.m_token[m] == token:
            schedule(s, now, s.m_tie[m], (ARRIVE << KIND_SHIFT) | (sink << INDEX_SHIFT) | m)
        else:
            park(s, task, s.m_token[m], sink, m)
        p = following
    fire_all(f, s, task, now)


@njit(cache=True)
def serve_spike(f, s, sink, m, now):
    """Look up the axon, fetch its row, add payload * weight to the tile's accumulators."""
    task = f.sink_task[sink]
    token = s.m_token[m]
    n_pre, n = f.task_n_pre[task], f.task_neuron_n[task]
    axon = s.m_index[m] + f.sink_base[sink]
    if f.task_kind[task] != 0 or axon < 0 or axon >= n_pre:
        fail(s.reg, E_NO_AXON, task, token, f.sink_core[sink], axon)
        return
    times, payload = s.m_times[m], s.m_value[m]
    slots = f.slots[0]
    slot = token % slots
    mark = axon * slots + slot
    rows = times
    if f.service[6]:  # row buffer
        rows = 0 if s.last_axon[task] == mark else 1
    s.last_axon[task] = mark
    duration = rows * f.service[1] + times * (
        f.service[0] + (n + f.service[5] - 1) // f.service[5] * f.service[2]
    )
    occupy(f, s, sink, task, m, now, duration)
    s.task_rows[task] += rows
    s.received[sink, slot] += times
    groups = (n_pre + 127) // 128
    group = axon >> 7
    drive = payload * times
    at = f.bound_offset[task] + slot * groups + group
    s.bound[at] += abs(drive) * 127
    base = f.sums_offset[task] + (slot * groups + group) * n
    row = f.weight_offset[task] + axon * n
    if s.bound[at] <= INT32_MAX:
        a = s.accumulator[base : base + n]
        w = f.weight[row : row + n]
        for j in range(n):
            a[j] += drive * w[j]
    else:  # it might not fit: add one by one and look
        for j in range(n):
            total = s.accumulator[base + j] + drive * f.weight[row + j]
            if total > INT32_MAX or total < -INT32_MAX - 1:
                fail(s.reg, E_ACCUMULATOR, task, token, j, total)
            s.accumulator[base + j] = total


@njit(cache=True)
def occupy(f, s, sink, task, m, now, duration):
    """The core is busy with a message; messages are served in the order they come."""
    core = f.sink_core[sink]
    start = max(now, s.core_free[core])
    s.core_free[core] = start + duration
    s.core_busy[core] += duration
    trace(s, start, duration, T_SERVE, core, task, s.m_token[m], s.m_class[m], s.m_times[m])


@njit(cache=True)
def serve_sums(f, s, sink, m, now):
    """Add a message's partial sums to their neurons."""
    task = f.sink_task[sink]
    token, count = s.m_token[m], s.m_value[m]
    n = f.task_neuron_n[task]
    first = s.m_index[m] + f.sink_base[sink]
    if f.task_kind[task] != 1 or first < 0 or first + count > n:
        fail(s.reg, E_NO_NEURON, task, token, f.sink_core[sink], first)
        return
    occupy(f, s, sink, task, m, now, count * f.service[3])
    base = f.sums_offset[task] + (token % f.slots[0]) * n + first
    for i in range(count):
        s.home[base + i] += s.values[s.m_store[m], i]


@njit(cache=True)
def arrive(f, s, sink, m, now):
    """A core takes a message in, or parks it until its token has a free set."""
    task = f.sink_task[sink]
    token, kind = s.m_token[m], s.m_class[m]
    slots = f.slots[0]
    if token >= s.done[task] + slots:
        park(s, task, token, sink, m)
        return
    if token < s.next_fire[task]:
        fail(s.reg, E_LATE, task, token, f.sink_core[sink], kind)
        return
    slot = token % slots
    local = f.task_core[task] == f.tree_source[s.m_tree[m]]
    if not local or kind == SPIKE or kind == MARKER:
        s.sink_got[sink, kind] += s.m_times[m]
    taken = 0
    if kind == SPIKE:
        serve_spike(f, s, sink, m, now)
    elif kind == MARKER:
        if s.received[sink, slot] != s.m_value[m]:
            fail(s.reg, E_LOST_SPIKES, task, token, s.m_value[m], s.received[sink, slot])
        s.received[sink, slot] = 0
        occupy(f, s, sink, task, m, now, f.service[0])
        taken = 1
    elif kind == PARTIAL:
        serve_sums(f, s, sink, m, now)
        taken = s.m_value[m]
    else:
        occupy(f, s, sink, task, m, now, 0 if local else s.m_value[m] * f.service[4])
        taken = s.m_value[m]
    drop_reference(s, m)
    if taken:
        s.got[task, slot] += taken
        if s.got[task, slot] > needed(f, task, token):
            fail(s.reg, E_TOO_MANY, task, token, f.sink_core[sink], s.got[task, slot])
        else:
            fire_all(f, s, task, now)


@njit(cache=True)
def run(f, s, margin, most):
    """Process events until something needs Python; returns why (see state.py).

    margin: the most messages one event can create; most: events before a PAUSE.
    """
    reg = s.reg
    for _ in range(most):
        if reg[R_READY]:
            return READY
        if reg[R_HEAP] == 0:
            return EMPTY
        if (
            reg[R_HEAP] + margin > s.heap_time.size
            or reg[R_FREE] < margin
            or reg[R_FREE_VALUES] < margin
            or reg[R_FREE_PARKED] < 1
        ):
            return GROW
        if s.trace.shape[0] and reg[R_TRACE] + margin > s.trace.shape[0]:
            return TRACE_FULL
        now, what = s.heap_time[0], s.heap_what[0]
        pop(s.heap_time, s.heap_tie, s.heap_what, reg[R_HEAP])
        reg[R_HEAP] -= 1
        reg[R_NOW] = now
        reg[R_EVENTS] += 1
        index, m = (what >> INDEX_SHIFT) & MASK, what & MASK
        kind = what >> KIND_SHIFT
        if kind == HOP:
            hop(f, s, index, m, now)
        elif kind == ARRIVE:
            arrive(f, s, index, m, now)
        else:
            release(f, s, index, now)
        if reg[R_ERROR]:
            return ERROR
    return PAUSE

"""A task fires: its core works, then sends what the task's nets carry.

A core does one thing after another; a source injects its messages in series on its
injection link. Partial sums carry their int64 values; values carry only their number,
because float work is done on the gathered vector (DESIGN section 5).
"""

from numba import njit

from simulator.hot.expand import next_spike
from simulator.hot.heap import push
from simulator.hot.state import (
    ARRIVE,
    E_PARTIAL,
    E_RING,
    HOP,
    INDEX_SHIFT,
    KIND_SHIFT,
    R_E1,
    R_E2,
    R_E3,
    R_E4,
    R_ERROR,
    R_FREE,
    R_FREE_VALUES,
    R_HEAP,
    R_HEAP_HIGH,
    R_READY,
    R_TRACE,
    RELEASE,
    T_FIRE,
    T_INJECT,
)

SPIKE, PARTIAL, VALUE, MARKER = 0, 1, 2, 3
SEQ_BITS = 40


@njit(cache=True)
def fail(reg, code, task, token, place, detail):
    """Remember the first error; the event loop stops at it."""
    if reg[R_ERROR] == 0:
        reg[R_ERROR], reg[R_E1], reg[R_E2] = code, task, token
        reg[R_E3], reg[R_E4] = place, detail


@njit(cache=True)
def schedule(s, time, tie, what):
    n = s.reg[R_HEAP]
    push(s.heap_time, s.heap_tie, s.heap_what, n, time, tie, what)
    s.reg[R_HEAP] = n + 1
    if n + 1 > s.reg[R_HEAP_HIGH]:
        s.reg[R_HEAP_HIGH] = n + 1


@njit(cache=True)
def trace(s, time, duration, event, place, task, token, message, count):
    if s.trace.shape[0]:
        row = s.reg[R_TRACE]
        s.reg[R_TRACE] = row + 1
        s.trace[row, 0], s.trace[row, 1], s.trace[row, 2] = time, duration, event
        s.trace[row, 3], s.trace[row, 4], s.trace[row, 5] = place, task, token
        s.trace[row, 6], s.trace[row, 7] = message, count


@njit(cache=True)
def next_tie(s, core):
    """(source core, per-source sequence) as one number."""
    seq = s.core_seq[core]
    s.core_seq[core] = seq + 1
    return (core << SEQ_BITS) | seq


@njit(cache=True)
def inject(f, s, time, task, tree, kind, token, bits, times, index, value, store):
    """Send one message (or burst) down a tree; local sinks get it at once, without a link."""
    m = s.m_free[s.reg[R_FREE] - 1]
    s.reg[R_FREE] -= 1
    core = f.tree_source[tree]
    tie = next_tie(s, core)
    s.m_tree[m], s.m_class[m], s.m_token[m], s.m_bits[m] = tree, kind, token, bits
    s.m_times[m], s.m_index[m], s.m_value[m] = times, index, value
    s.m_refs[m], s.m_tie[m], s.m_store[m] = f.tree_fan_out[tree], tie, store
    for sink in range(f.tree_first_local[tree], f.tree_last_local[tree]):
        schedule(s, time, tie, (ARRIVE << KIND_SHIFT) | (sink << INDEX_SHIFT) | m)
    root = f.tree_root[tree]
    if root < 0:
        return
    link = f.node_link[root]
    k = f.link_kind[link]
    flits = times * ((bits + f.flit_bits[k] - 1) // f.flit_bits[k])
    start = max(time, s.link_free[link])
    s.link_free[link] = start + flits * f.flit_ps[k]
    s.link_flits[link] += flits
    s.tree_sent[tree, kind] += times
    arrive = start + f.hop_ps[k] + (flits - 1) * f.flit_ps[k]
    schedule(s, arrive, tie, (HOP << KIND_SHIFT) | (root << INDEX_SHIFT) | m)
    deliveries = times * (f.tree_fan_out[tree] - f.tree_last_local[tree] + f.tree_first_local[tree])
    trace(s, start, flits * f.flit_ps[k], T_INJECT, core, task, token, kind, deliveries)


@njit(cache=True)
def send_spikes(f, s, time, task, e, token):
    """Every channel's spikes back to back, then the marker that counts them."""
    site = f.task_site[task]
    tree = f.emit_tree[e]
    row = token % s.counts.shape[0]
    sent = 0
    for channel in range(f.emit_lo[e], f.emit_lo[e] + f.emit_n[e]):
        left = s.counts[row, f.site_offset[site] + channel]
        while left != 0:
            payload, times, left = next_spike(left, f.site_coding[site])
            inject(
                f, s, time, task, tree, SPIKE, token, f.site_bits[site], times, channel, payload, -1
            )
            sent += times
    inject(f, s, time, task, tree, MARKER, token, f.message_bits[MARKER], 1, 0, sent, -1)


@njit(cache=True)
def send_sums(f, s, time, task, e, token):
    """P of a tile's neurons, values_per_message at a time; row_sums holds them."""
    linear = f.task_linear[task]
    per = f.message_values[PARTIAL]
    tree = f.emit_tree[e]
    first = f.emit_lo[e]
    for lo in range(first, first + f.emit_n[e], per):
        n = min(per, first + f.emit_n[e] - lo)
        store = s.values_free[s.reg[R_FREE_VALUES] - 1]
        s.reg[R_FREE_VALUES] -= 1
        for i in range(n):
            s.values[store, i] = s.row_sums[lo - f.task_neuron_lo[task] + i]
        bits = f.message_bits[PARTIAL] + n * f.linear_bits[linear]
        inject(f, s, time, task, tree, PARTIAL, token, bits, 1, lo, n, store)


@njit(cache=True)
def send_values(f, s, time, task, e, token):
    """A number of float32 values, values_per_message at a time."""
    per = f.message_values[VALUE]
    for lo in range(0, f.emit_n[e], per):
        n = min(per, f.emit_n[e] - lo)
        bits = f.message_bits[VALUE] + n * f.value_bits[0]
        inject(f, s, time, task, f.emit_tree[e], VALUE, token, bits, 1, 0, n, -1)


@njit(cache=True)
def close_tile(f, s, task, token):
    """P = sum over groups of m * A, in int64; the accumulators are cleared for another token."""
    n, groups = f.task_neuron_n[task], (f.task_n_pre[task] + 127) // 128
    slot = token % f.slots[0]
    base = f.sums_offset[task] + slot * groups * n
    limit = 1 << (f.linear_bits[f.task_linear[task]] - 1)
    for j in range(n):
        total = 0
        for g in range(groups):
            at = base + g * n + j
            total += f.mantissa[f.mantissa_offset[task] + g * n + j] * s.accumulator[at]
            s.accumulator[at] = 0
        if total >= limit or total < -limit:
            fail(s.reg, E_PARTIAL, task, token, f.task_neuron_lo[task] + j, total)
        s.row_sums[j] = total
    for g in range(groups):
        s.bound[f.bound_offset[task] + slot * groups + g] = 0


@njit(cache=True)
def gather(f, s, task, token, time):
    """Hand this task's sums to its stage; the stage is ready when the last task has."""
    stage = f.task_gathers[task]
    row = token % s.stage_left.shape[1]
    if s.stage_left[stage, row] == s.stage_all[stage]:
        s.stage_token[stage, row] = token
    elif s.stage_token[stage, row] != token:
        fail(s.reg, E_RING, task, token, stage, s.stage_token[stage, row])
    n = f.task_neuron_n[task]
    if n:
        base = f.sums_offset[task] + (token % f.slots[0]) * n
        out = f.linear_offset[f.task_linear[task]] + f.task_neuron_lo[task]
        for i in range(n):
            s.stage_sums[row, out + i] = s.home[base + i]
            s.home[base + i] = 0
    s.stage_left[stage, row] -= 1
    if s.stage_left[stage, row] == 0:
        announce(s, 0, stage, token, time)


@njit(cache=True)
def announce(s, what, index, token, time):
    """Queue something for Python: a stage to compute, or logits at the host."""
    n = s.reg[R_READY]
    s.ready[n, 0], s.ready[n, 1], s.ready[n, 2], s.ready[n, 3] = what, index, token, time
    s.reg[R_READY] = n + 1


@njit(cache=True)
def tokens_kept(window, period, residue, token):
    """How many of the last `window` tokens fall on one stripe of a KV ring."""
    first = max(0, token - window + 1)
    return (token - residue) // period - (first - 1 - residue) // period


@njit(cache=True)
def fire(f, s, task, token, now):
    """Work on the core from when it is free, then send; returns the finish time in ps."""
    core = f.task_core[task]
    duration = f.task_ps[task]
    if f.task_window[task]:
        kept = tokens_kept(f.task_window[task], f.task_period[task], f.task_residue[task], token)
        duration += kept * f.task_ring_ps[task]
        s.task_ring[task] += kept
    start = max(now, s.core_free[core])
    finish = start + duration
    s.core_free[core] = finish
    s.core_busy[core] += duration
    s.task_fired[task] += 1
    s.next_fire[task] = token + 1
    trace(s, start, duration, T_FIRE, core, task, token, -1, 0)
    if f.task_kind[task] == 0:
        close_tile(f, s, task, token)
    if f.task_gathers[task] >= 0:
        gather(f, s, task, token, finish)
    for e in range(f.task_emit[task], f.task_emit[task + 1]):
        if f.emit_residue[e] >= 0 and token % f.task_period[task] != f.emit_residue[e]:
            continue
        kind = f.emit_class[e]
        if kind == SPIKE:
            if token >= s.site_first[f.task_site[task]]:
                send_spikes(f, s, finish, task, e, token)
        elif kind == PARTIAL:
            send_sums(f, s, finish, task, e, token)
        else:
            send_values(f, s, finish, task, e, token)
    if f.task_kind[task] == 2 and f.task_emit[task] == f.task_emit[task + 1]:
        announce(s, 1, task, token, finish)
    schedule(s, finish, next_tie(s, core), (RELEASE << KIND_SHIFT) | (task << INDEX_SHIFT))
    return finish


@njit(cache=True)
def needed(f, task, token):
    """Inputs a task awaits for a token."""
    need = f.task_need[task]
    if f.task_extra[task] and token % f.task_period[task] == f.task_residue[task]:
        need += f.task_extra[task]
    return need


@njit(cache=True)
def fire_all(f, s, task, now):
    """Fire every token whose inputs are complete, in token order."""
    slots = f.slots[0]
    if f.task_need[task] + f.task_extra[task] == 0:
        return  # the embedding awaits nothing; the host starts it
    while True:
        token = s.next_fire[task]
        if token >= s.done[task] + slots:
            return
        slot = token % slots
        if s.got[task, slot] != needed(f, task, token):
            return
        s.got[task, slot] = 0
        fire(f, s, task, token, now)

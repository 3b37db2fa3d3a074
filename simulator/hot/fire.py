"""A task fires: its core works, then sends what the task's nets carry.

A core does one thing after another; a source injects its messages in series on its
injection link. Partial sums carry their int64 values; values carry only their number,
because float work is done on the gathered vector (DESIGN section 5).
"""

from numba import int64

from simulator.hot import state as h
from simulator.hot.expand import next_spike
from simulator.hot.heap import push
from simulator.hot.jit import inner

SEQ_BITS = 40


@inner
def fail(reg, code, task, token, place, detail):
    """Remember the first error; the event loop stops at it."""
    if reg[h.R_ERROR] == 0:
        reg[h.R_ERROR], reg[h.R_E1], reg[h.R_E2] = code, task, token
        reg[h.R_E3], reg[h.R_E4] = place, detail


@inner
def schedule(reg, heap, time, tie, what):
    """Add an event."""
    n = reg[h.R_HEAP]
    push(heap, n, time, tie, what)
    reg[h.R_HEAP] = n + 1
    if n + 1 > reg[h.R_HEAP_HIGH]:
        reg[h.R_HEAP_HIGH] = n + 1


@inner
def record(reg, rows, time, duration, event, place, task, token, message, count):
    """Add a row to the trace, if there is one."""
    if rows.shape[0]:
        row = reg[h.R_TRACE]
        reg[h.R_TRACE] = row + 1
        rows[row, 0], rows[row, 1], rows[row, 2], rows[row, 3] = time, duration, event, place
        rows[row, 4], rows[row, 5], rows[row, 6], rows[row, 7] = task, token, message, count


@inner
def next_tie(core_table, core):
    """(source core, per-source sequence) as one number."""
    seq = core_table[core, h.SEQ]
    core_table[core, h.SEQ] = seq + 1
    return (core << SEQ_BITS) | seq


@inner
def cross(wire, link_table, link, kind, bits, times, now):
    """Take a message over a link: (start, arrival) in ps; bursts hold it `times` times."""
    flits = times * ((bits + wire[kind, h.FLIT_BITS] - 1) // wire[kind, h.FLIT_BITS])
    start = max(now, link_table[link, h.FREE])
    link_table[link, h.FREE] = start + flits * wire[kind, h.FLIT_PS]
    link_table[link, h.FLITS] += flits
    return start, start + wire[kind, h.HOP_PS] + (flits - 1) * wire[kind, h.FLIT_PS]


@inner
def inject(f, s, time, task, tree, kind, token, bits, times, index, value, store):
    """Send one message (or burst) down a tree; local sinks get it at once, without a link."""
    reg = s.reg
    reg[h.R_FREE] -= 1
    m = s.message_free[reg[h.R_FREE]]
    core = f.tree[tree, h.SOURCE]
    tie = next_tie(s.core, core)
    row = s.message[m]
    row[h.M_TREE], row[h.M_CLASS], row[h.M_TOKEN], row[h.M_BITS] = tree, kind, token, bits
    row[h.M_TIMES], row[h.M_INDEX], row[h.M_VALUE] = times, index, value
    row[h.M_REFS], row[h.M_TIE], row[h.M_STORE] = f.tree[tree, h.FAN_OUT], tie, store
    first, last = f.tree[tree, h.FIRST_LOCAL], f.tree[tree, h.LAST_LOCAL]
    for sink in range(first, last):
        what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
        schedule(reg, s.heap, time, tie, what)
    if last > first:
        local = (last - first) * times
        record(reg, s.trace, time, h.ZERO, h.T_INJECT, core, task, token, kind, local)
    root = f.tree[tree, h.ROOT]
    if root < 0:
        return
    link = f.node[root, h.LINK]
    start, arrive = cross(f.wire, s.link, link, f.link_kind[link], bits, times, time)
    s.tree_sent[tree, kind] += times
    what = (h.HOP << h.KIND_SHIFT) | (root << h.INDEX_SHIFT) | m
    schedule(reg, s.heap, arrive, tie, what)
    deliveries = times * (f.tree[tree, h.FAN_OUT] - last + first)
    held = s.link[link, h.FREE] - start
    record(reg, s.trace, start, held, h.T_INJECT, core, task, token, kind, deliveries)


@inner
def send_spikes(f, s, time, task, e, token):
    """Every channel's spikes back to back, then the marker that counts them."""
    site, tree, lo = f.task[task, h.SITE], f.emit[e, h.E_TREE], f.emit[e, h.E_LO]
    bits, coding, offset = f.site[site, h.BITS], f.site[site, h.CODING], f.site[site, h.OFFSET]
    row = token % s.counts.shape[0]
    sent = int64(0)
    for channel in range(lo, lo + f.emit[e, h.E_N]):
        left = int64(s.counts[row, offset + channel])
        while left != 0:
            payload, times, left = next_spike(left, coding)
            inject(f, s, time, task, tree, h.SPIKE, token, bits, times, channel, payload, h.NONE)
            sent += times
    bits = f.message[h.MARKER, h.HEADER]
    inject(f, s, time, task, tree, h.MARKER, token, bits, h.ONE, h.ZERO, sent, h.NONE)


@inner
def send_sums(f, s, time, task, e, token):
    """P of a tile's neurons, some per message; row_sums holds them."""
    width = f.linear[f.task[task, h.LINEAR], h.L_BITS]
    per, tree = f.message[h.PARTIAL, h.PER_MESSAGE], f.emit[e, h.E_TREE]
    first = f.emit[e, h.E_LO]
    end = first + f.emit[e, h.E_N]
    for lo in range(first, end, per):
        n = min(per, end - lo)
        s.reg[h.R_FREE_VALUES] -= 1
        store = s.values_free[s.reg[h.R_FREE_VALUES]]
        for i in range(n):
            s.values[store, i] = s.row_sums[lo - f.task[task, h.NEURON_LO] + i]
        bits = f.message[h.PARTIAL, h.HEADER] + n * width
        inject(f, s, time, task, tree, h.PARTIAL, token, bits, h.ONE, lo, n, store)


@inner
def send_values(f, s, time, task, e, token):
    """A number of float32 values, some per message."""
    per, total = f.message[h.VALUE, h.PER_MESSAGE], f.emit[e, h.E_N]
    tree = f.emit[e, h.E_TREE]
    for lo in range(0, total, per):
        n = min(per, total - lo)
        bits = f.message[h.VALUE, h.HEADER] + n * f.service[h.VALUE_BITS]
        inject(f, s, time, task, tree, h.VALUE, token, bits, h.ONE, h.ZERO, n, h.NONE)


@inner
def close_tile(f, s, task, token):
    """P = sum over groups of m * A, in int64; the accumulators are cleared for another token."""
    row = f.task[task]
    n, groups = row[h.NEURON_N], row[h.GROUPS]
    slot = token % f.service[h.SLOTS]
    base = row[h.SUMS] + slot * groups * n
    limit = 1 << (f.linear[row[h.LINEAR], h.L_BITS] - 1)
    for j in range(n):
        total = int64(0)
        for g in range(groups):
            at = base + g * n + j
            total += f.mantissa[row[h.MANTISSA] + g * n + j] * s.accumulator[at]
            s.accumulator[at] = 0
        if total >= limit or total < -limit:
            fail(s.reg, h.E_PARTIAL, task, token, row[h.NEURON_LO] + j, total)
        s.row_sums[j] = total
    for g in range(groups):
        s.bound[row[h.BOUND] + slot * groups + g] = 0


@inner
def gather(f, s, task, token, time):
    """Hand this task's sums to its stage; the stage is ready when the last task has."""
    stage = f.task[task, h.GATHERS]
    ring = token % s.stage_left.shape[1]
    if s.stage_left[stage, ring] == s.stage_all[stage]:
        s.stage_token[stage, ring] = token
    elif s.stage_token[stage, ring] != token:
        fail(s.reg, h.E_RING, task, token, stage, s.stage_token[stage, ring])
    n = f.task[task, h.NEURON_N]
    if n:
        base = f.task[task, h.SUMS] + (token % f.service[h.SLOTS]) * n
        out = f.linear[f.task[task, h.LINEAR], h.L_OFFSET] + f.task[task, h.NEURON_LO]
        for i in range(n):
            s.stage_sums[ring, out + i] = s.home[base + i]
            s.home[base + i] = 0
    s.stage_left[stage, ring] -= 1
    if s.stage_left[stage, ring] == 0:
        announce(s.reg, s.ready, h.STAGE, stage, token, time, task)


@inner
def announce(reg, ready, what, index, token, time, task):
    """Queue something for Python: a stage to compute, or logits at the host."""
    n = reg[h.R_READY]
    ready[n, 0], ready[n, 1], ready[n, 2], ready[n, 3] = what, index, token, time
    ready[n, 4] = task
    reg[h.R_READY] = n + 1


@inner
def tokens_kept(window, period, residue, token):
    """How many of the last `window` tokens fall on one stripe of a KV ring."""
    first = max(0, token - window + 1)
    return (token - residue) // period - (first - 1 - residue) // period


@inner
def fire(f, s, task, token, now):
    """Work on the core from when it is free, then send."""
    row = f.task[task]
    core = row[h.CORE]
    duration = row[h.PS]
    if row[h.WINDOW]:
        kept = tokens_kept(row[h.WINDOW], row[h.PERIOD], row[h.RESIDUE], token)
        duration += kept * row[h.RING_PS]
        s.progress[task, h.RING] += kept
    start = max(now, s.core[core, h.C_FREE])
    finish = start + duration
    s.core[core, h.C_FREE] = finish
    s.core[core, h.BUSY] += duration
    s.progress[task, h.FIRED] += 1
    s.progress[task, h.NEXT] = token + 1
    record(s.reg, s.trace, start, duration, h.T_FIRE, core, task, token, h.NONE, h.ZERO)
    if row[h.KIND] == h.TILE:
        close_tile(f, s, task, token)
    if row[h.GATHERS] >= 0:
        gather(f, s, task, token, finish)
    for e in range(row[h.EMIT], row[h.EMIT_END]):
        residue = f.emit[e, h.E_RESIDUE]
        if residue >= 0 and token % row[h.PERIOD] != residue:
            continue
        kind = f.emit[e, h.E_CLASS]
        if kind == h.SPIKE:
            if token >= s.site_first[row[h.SITE]]:
                send_spikes(f, s, finish, task, e, token)
        elif kind == h.PARTIAL:
            send_sums(f, s, finish, task, e, token)
        else:
            send_values(f, s, finish, task, e, token)
    if row[h.KIND] == h.HOST and row[h.EMIT] == row[h.EMIT_END]:
        announce(s.reg, s.ready, h.LOGITS, task, token, finish, task)
    what = (h.RELEASE << h.KIND_SHIFT) | (task << h.INDEX_SHIFT)
    schedule(s.reg, s.heap, finish, next_tie(s.core, core), what)


@inner
def needed(f, task, token):
    """Inputs a task awaits for a token."""
    need = f.task[task, h.NEED]
    if f.task[task, h.EXTRA] and token % f.task[task, h.PERIOD] == f.task[task, h.RESIDUE]:
        need += f.task[task, h.EXTRA]
    return need


@inner
def complete(f, s, task):
    """The token a task can fire next, if its inputs are all there (they are taken); else -1."""
    if f.task[task, h.NEED] + f.task[task, h.EXTRA] == 0:
        return -1  # the embedding awaits nothing; the host starts it
    slots = f.service[h.SLOTS]
    token = s.progress[task, h.NEXT]
    slot = token % slots
    if token >= s.progress[task, h.DONE] + slots or s.got[task, slot] != needed(f, task, token):
        return -1
    s.got[task, slot] = 0
    return token

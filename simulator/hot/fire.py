"""A task fires: its core works, then sends what the task's nets carry.

A core does one thing after another; a source injects its messages in series on its
injection link. Partial sums carry their int64 values; values carry only their number,
because float work is done on the gathered vector (DESIGN section 5). Under barrier sync a
task takes turns, one per step: it fires in the first and sends one symbol of its trains in each.
"""

from numba import int64

from simulator.hot import state as h
from simulator.hot.buffers import new_copy
from simulator.hot.closed import owe, put_off
from simulator.hot.crossbar import close_arrays
from simulator.hot.expand import TERNARY, in_step, next_spike
from simulator.hot.fail import fail
from simulator.hot.jit import inner
from simulator.hot.moves import cross, intake, next_tie, record, schedule, schedule_turn


@inner
def join_wave(reg, wave, time, tie, node, m):
    """A message stands at its root, or is for its own core alone: it goes with its step's wave."""
    n = reg[h.R_WAVE]
    wave[n, h.W_TIME], wave[n, h.W_TIE] = time, tie
    wave[n, h.W_NODE], wave[n, h.W_MESSAGE] = node, m
    reg[h.R_WAVE] = n + 1


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
    waves = f.service[h.WAVES]
    if not waves:
        for sink in range(first, last):
            what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
            schedule(reg, s.heap, intake(f, time), tie, what)
    if last > first:
        local = (last - first) * times
        record(reg, s.trace, time, h.ZERO, h.T_INJECT, core, task, token, kind, local)
    root = f.tree[tree, h.ROOT]
    if root < 0:
        if waves:
            join_wave(reg, s.wave, time, tie, root, m)
        return
    s.tree_sent[tree, kind] += times
    if f.bounded is not None:  # it waits for the link, and then for room
        c = new_copy(reg, s.copies, m, root, h.NONE, task)
        schedule(reg, s.heap, time, tie, (h.JOIN << h.KIND_SHIFT) | c)
        return
    link = f.node[root, h.LINK]
    start, arrive = cross(f.wire, s.link, link, f.link_kind[link], bits, times, time)
    reg[h.R_QUIET] = max(reg[h.R_QUIET], s.link[link, h.FREE])
    if waves:
        join_wave(reg, s.wave, arrive, tie, root, m)
    else:
        what = (h.HOP << h.KIND_SHIFT) | (root << h.INDEX_SHIFT) | m
        schedule(reg, s.heap, arrive, tie, what)
    deliveries = times * (f.tree[tree, h.FAN_OUT] - last + first)
    held = s.link[link, h.FREE] - start
    record(reg, s.trace, start, held, h.T_INJECT, core, task, token, kind, deliveries)


@inner
def turn_of(f, s, task, token):
    """Which one of a task's tokens this is: all count, or those for which its condition holds."""
    condition = f.task[task, h.CONDITION]
    return token if condition < 0 else s.turn[condition, token]


@inner
def token_of(f, s, task, turn):
    """The token of a turn."""
    condition = f.task[task, h.CONDITION]
    return turn if condition < 0 else s.token_at[condition, turn]


@inner
def send_spikes(f, s, time, task, e, token, symbol):
    """Every channel's spikes back to back (or one symbol of each), then the marker that counts
    them. Is there more for later steps?
    """
    site, tree, lo = f.task[task, h.SITE], f.emit[e, h.E_TREE], f.emit[e, h.E_LO]
    bits, coding, offset = f.site[site, h.BITS], f.site[site, h.CODING], f.site[site, h.OFFSET]
    row = token % s.counts.shape[0]
    sent, more = int64(0), False
    if symbol > 0:
        sent = s.sent[e]
        if sent < 0:
            return False
    for channel in range(lo, lo + f.emit[e, h.E_N]):
        left = int64(s.counts[row, offset + channel])
        if symbol >= 0:
            left, later = in_step(left, coding, symbol)
            more |= later
        while left != 0:
            payload, times, left = next_spike(left, coding)
            inject(f, s, time, task, tree, h.SPIKE, token, bits, times, channel, payload, h.NONE)
            sent += times
    if more:
        s.sent[e] = sent
        return True
    s.sent[e] = -1
    bits = f.message[h.MARKER, h.HEADER]
    inject(f, s, time, task, tree, h.MARKER, token, bits, h.ONE, h.ZERO, sent, h.NONE)
    return False


@inner
def send_sums(f, s, time, task, e, token):
    """P of a tile's neurons, some per message; row_sums holds them, or they are put off."""
    width = f.linear[f.task[task, h.LINEAR], h.L_BITS]
    per, tree = f.message[h.PARTIAL, h.PER_MESSAGE], f.emit[e, h.E_TREE]
    first = f.emit[e, h.E_LO]
    end = first + f.emit[e, h.E_N]
    later = f.task[task, h.KIND] == h.TILE and not f.array.size
    for lo in range(first, end, per):
        n = min(per, end - lo)
        store = h.NONE
        if f.service[h.VALUES]:
            s.reg[h.R_FREE_VALUES] -= 1
            if later:
                store = owe(s, s.message_free[s.reg[h.R_FREE] - 1])  # the one that inject takes
            else:
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
def pass_on(f, s, task, token, slot):
    """Sums that a task added up for a home elsewhere are next to be sent."""
    row = f.task[task]
    n = row[h.NEURON_N]
    base = row[h.SUMS] + slot * n
    limit = 1 << (f.linear[row[h.LINEAR], h.L_BITS] - 1)
    for i in range(n):
        total = s.home[base + i]
        if total >= limit or total < -limit:
            fail(s.reg, h.E_PARTIAL, task, token, row[h.NEURON_LO] + i, total)
        s.row_sums[i] = total
        s.home[base + i] = 0


@inner
def take_sums(s, base, n, out, ring):
    """Sums of n neurons leave their task for their stage."""
    for i in range(n):
        s.stage_sums[ring, out + i] = s.home[base + i]
        s.home[base + i] = 0


@inner
def gather(f, s, task, token, slot, time):
    """Hand this task's sums to its stage; the stage is ready when the last task has."""
    stage = f.task[task, h.GATHERS]
    ring = token % s.stage_left.shape[1]
    if s.stage_left[stage, ring] == s.stage_all[stage]:
        s.stage_token[stage, ring] = token
    elif s.stage_token[stage, ring] != token:
        fail(s.reg, h.E_RING, task, token, stage, s.stage_token[stage, ring])
    row = f.task[task]
    n = row[h.NEURON_N]
    if n and f.service[h.VALUES]:
        base = row[h.SUMS] + slot * row[h.SETS] * n
        out = f.linear[row[h.LINEAR], h.L_OFFSET] + row[h.NEURON_LO]
        take_sums(s, base, n, out, ring)
        if row[h.EXPERTS] >= 0:
            for c in range(row[h.EXPERTS], f.condition[row[h.EXPERTS], h.ROUTER_END]):
                if s.turn[c, token] >= 0:
                    base += n
                    take_sums(s, base, n, f.condition[c, h.ADDED] + row[h.NEURON_LO], ring)
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
def position_of(s, token):
    """Where in the text a token stands; tokens are counted as they are started."""
    return token + s.reg[h.R_OFFSET]


@inner
def tokens_kept(window, period, residue, position):
    """How many of the last `window` positions fall on one stripe of a KV ring."""
    first = max(0, position - window + 1)
    return (position - residue) // period - (first - 1 - residue) // period


@inner
def work(f, s, task, token, now):
    """The core's work for a token, from when the core is free; returns when it is done."""
    row, turn = f.task[task], turn_of(f, s, task, token)
    core, slot = row[h.CORE], turn % f.service[h.SLOTS]
    duration = row[h.PS]
    if row[h.WINDOW]:
        kept = tokens_kept(row[h.WINDOW], row[h.PERIOD], row[h.RESIDUE], position_of(s, token))
        duration += kept * row[h.RING_PS]
        s.progress[task, h.RING] += kept
    if row[h.KIND] == h.TILE and f.array.size:
        linear, at = f.linear[row[h.LINEAR]], row[h.SUMS] + slot * row[h.N_PRE]
        duration += close_arrays(
            s.reg, row, f.array, f.cell, f.mantissa, s.inputs[at : at + row[h.N_PRE]],
            s.row_sums, s.progress[task], linear[h.L_CODING] == TERNARY,
            1 << (linear[h.L_BITS] - 1), task, token,
        )  # fmt: skip
    start = max(now, s.core[core, h.C_FREE])
    finish = start + duration
    s.core[core, h.C_FREE] = finish
    s.core[core, h.BUSY] += duration
    s.progress[task, h.FIRED] += 1
    s.progress[task, h.NEXT] = turn + 1
    s.got[task, slot] = 0
    record(s.reg, s.trace, start, duration, h.T_FIRE, core, task, token, h.NONE, h.ZERO)
    if f.service[h.VALUES]:
        if row[h.KIND] == h.TILE and not f.array.size:
            put_off(f, s, task, token, slot)
        elif row[h.KIND] == h.VECTOR and row[h.NEURON_N] and row[h.GATHERS] < 0:
            pass_on(f, s, task, token, slot)
    if row[h.GATHERS] >= 0:
        gather(f, s, task, token, slot, finish)
    return finish


@inner
def fire(f, s, task, token, now):
    """Work, then send; under barrier sync, or send the next symbol of trains under way."""
    row = f.task[task]
    symbol, more = s.progress[task, h.SYMBOL], False
    if symbol > 0:
        finish = max(now, s.core[row[h.CORE], h.C_FREE])
    else:
        finish = work(f, s, task, token, now)
    for e in range(row[h.EMIT], row[h.EMIT_END]):
        residue = f.emit[e, h.E_RESIDUE]
        if residue >= 0 and position_of(s, token) % row[h.PERIOD] != residue:
            continue
        condition = f.emit[e, h.E_CONDITION]
        if condition >= 0 and s.turn[condition, token] < 0:
            continue
        kind = f.emit[e, h.E_CLASS]
        if kind == h.SPIKE:
            if token >= s.site_first[row[h.SITE]]:
                more |= send_spikes(f, s, finish, task, e, token, symbol)
        elif symbol > 0:
            continue
        elif kind == h.PARTIAL:
            send_sums(f, s, finish, task, e, token)
        else:
            send_values(f, s, finish, task, e, token)
    if more:
        s.progress[task, h.SYMBOL] = symbol + 1
        schedule_turn(s, task)
        return
    s.progress[task, h.SYMBOL] = min(symbol, 0)
    if row[h.KIND] == h.HOST and row[h.EMIT] == row[h.EMIT_END]:
        announce(s.reg, s.ready, h.LOGITS, task, token, finish, task)
    what = (h.RELEASE << h.KIND_SHIFT) | (task << h.INDEX_SHIFT)
    schedule(s.reg, s.heap, finish, next_tie(s.core, row[h.CORE]), what)


@inner
def needed(f, s, task, token):
    """Inputs a task awaits for a token."""
    row = f.task[task]
    need = row[h.NEED]
    if row[h.EXTRA] and position_of(s, token) % row[h.PERIOD] == row[h.RESIDUE]:
        need += row[h.EXTRA]
    return need


@inner
def due(f, s, task):
    """The token a task can fire next, if its inputs are all there; else -1.

    Under barrier sync it is done with one token before it turns to the next.
    """
    slots, condition = f.service[h.SLOTS], f.task[task, h.CONDITION]
    turn = s.progress[task, h.NEXT]
    ahead = 1 if f.service[h.BARRIER_PS] else slots
    known = s.reg[h.R_STARTED] if condition < 0 else s.turns[condition]
    if turn >= min(s.progress[task, h.DONE] + ahead, known):
        return -1
    token = token_of(f, s, task, turn)
    return token if s.got[task, turn % slots] == needed(f, s, task, token) else -1

"""The event loop: messages hop, cores serve, tasks fire; exact integer picoseconds.

Events are ordered by (time, source core, per-source sequence). A link serves its
messages first come, first served; a fork copies to every output; a core serves in
series. A message for a token without a free accumulator set waits in a side queue
of its (task, token) and comes back when the set is released. Under barrier sync what
reaches a core, and what a task does next, waits for the next step (docs/simulation.md).
Tasks of an expert know only the tokens that chose it: they count them, and take them in turns.
"""

from numba import int64

from simulator.hot import state as h
from simulator.hot.buffers import moved, wait_in_line
from simulator.hot.closed import needed_now, sum_closed
from simulator.hot.fail import fail
from simulator.hot.fire import due, fire, needed, token_of, turn_of
from simulator.hot.jit import borrowing, entry, merged
from simulator.hot.moves import cross, intake, record, schedule_turn
from simulator.hot.queue import close_hole, follow, move_up, schedule
from simulator.hot.rows import GROUP, INT32_MAX, beyond
from simulator.hot.steps import next_is_due, next_step


def start_token(f, s, task, token, time):
    """The host starts a token: its embedding leaves at `time`, or (barrier) in the step after
    that of the token before it."""
    s.reg[h.R_STARTED] = token + 1
    if not f.service[h.BARRIER_PS] or s.progress[task, h.DONE] == token:
        engine(f, s, task, token, time, 0, 0)


@merged
def hop(f, s, node, m, now):
    """Message m stands whole at a node's router: hand it to its onward links, and to its sinks
    (where events wait in line, the caller does).
    """
    row, place = s.message[m], f.node[node]
    tie, served = row[h.M_TIE], intake(f, now)
    if f.service[h.STREAMS]:
        move_up(s, s.link, place[h.LINK], h.LAST)
    else:
        for sink in range(place[h.FIRST_SINK], place[h.LAST_SINK]):
            what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
            schedule(s.reg, s.heap, served, tie, what)
    for child in range(place[h.FIRST_CHILD], place[h.LAST_CHILD]):
        link = f.node[child, h.LINK]
        kind = f.link_kind[link]
        _, arrive = cross(f.wire, s.link, link, kind, row[h.M_BITS], row[h.M_TIMES], now)
        s.reg[h.R_QUIET] = max(s.reg[h.R_QUIET], s.link[link, h.FREE])
        what = (h.HOP << h.KIND_SHIFT) | (child << h.INDEX_SHIFT) | m
        follow(f, s, s.link, link, h.LAST, arrive, tie, what)


@merged
def drop_reference(s, m):
    """One sink is done with a message; the last one frees it."""
    s.message[m, h.M_REFS] -= 1
    if s.message[m, h.M_REFS] == 0:
        if s.message[m, h.M_STORE] >= 0:
            s.values_free[s.reg[h.R_FREE_VALUES]] = s.message[m, h.M_STORE]
            s.reg[h.R_FREE_VALUES] += 1
        s.message_free[s.reg[h.R_FREE]] = m
        s.reg[h.R_FREE] += 1


@merged
def park(s, task, turn, sink, m):
    """Wait for an accumulator set, behind those of the same token."""
    s.reg[h.R_FREE_PARKED] -= 1
    p = s.parked_free[s.reg[h.R_FREE_PARKED]]
    s.parked[p, 0], s.parked[p, 1], s.parked[p, 2] = m, sink, -1
    bucket = turn % h.PARK
    if s.queue[task, bucket, 0] < 0:
        s.queue[task, bucket, 0] = p
    else:
        s.parked[s.queue[task, bucket, 1], 2] = p
    s.queue[task, bucket, 1] = p


@merged
def release(f, s, task, now):
    """A set is free: let the parked messages of the newly admitted token arrive now."""
    s.progress[task, h.DONE] += 1
    turn = s.progress[task, h.DONE] + f.service[h.SLOTS] - 1
    bucket = turn % h.PARK
    p = s.queue[task, bucket, 0]
    s.queue[task, bucket, 0] = -1
    while p >= 0:
        m, sink, following = s.parked[p, 0], s.parked[p, 1], s.parked[p, 2]
        s.parked_free[s.reg[h.R_FREE_PARKED]] = p
        s.reg[h.R_FREE_PARKED] += 1
        its_turn = turn_of(f, s, task, s.message[m, h.M_TOKEN])
        if its_turn == turn:
            what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
            schedule(s.reg, s.heap, now, s.message[m, h.M_TIE], what)
        else:
            park(s, task, its_turn, sink, m)
        p = following


@merged
def occupy(f, s, sink, m, now, duration):
    """The core is busy with a message; messages are served in the order they come."""
    core = f.sink[sink, h.S_CORE]
    start = max(now, s.core[core, h.C_FREE])
    s.core[core, h.C_FREE] = start + duration
    s.core[core, h.BUSY] += duration
    row = s.message[m]
    task, token = f.sink[sink, h.S_TASK], row[h.M_TOKEN]
    kind, times = row[h.M_CLASS], row[h.M_TIMES]
    record(s.reg, s.trace, start, duration, h.T_SERVE, core, task, token, kind, times)


@merged
def serve_spike(f, s, sink, m, slot, now):
    """Look up the axon, fetch its row, add the payload to the input's count.

    Rows are added once per token, when the tile closes (rows.py): the accumulators would hold the
    same integers. Where one might not fit at this moment, it is worked out and looked at.
    """
    task = f.sink[sink, h.S_TASK]
    row, message, service = f.task[task], s.message[m], f.service
    token, times, payload = message[h.M_TOKEN], message[h.M_TIMES], message[h.M_VALUE]
    n_pre, n = row[h.N_PRE], row[h.NEURON_N]
    if row[h.KIND] == h.HOST:  # it reads spikes, and stores nothing
        occupy(f, s, sink, m, now, h.ZERO)
        s.received[sink, slot] += times
        return
    axon = message[h.M_INDEX] + f.sink[sink, h.S_BASE]
    if row[h.KIND] != h.TILE or axon < 0 or axon >= n_pre:
        fail(s.reg, h.E_NO_AXON, task, token, f.sink[sink, h.S_CORE], axon)
        return
    first = row[h.SUMS] + slot * n_pre
    s.received[sink, slot] += times
    if s.inputs.size:  # else spikes are only counted
        s.inputs[first + axon] += payload * times
    if f.array.size:
        occupy(f, s, sink, m, now, times * service[h.AXON_PS])
        return
    mark = token * n_pre + axon  # a row stays buffered until another row or token comes
    rows = times
    if service[h.ROW_BUFFER]:
        rows = 0 if s.progress[task, h.LAST_AXON] == mark else 1
    s.progress[task, h.LAST_AXON] = mark
    if row[h.LIST] >= 0:
        n = f.list_first[row[h.LIST] + axon + 1] - f.list_first[row[h.LIST] + axon]
        s.progress[task, h.SYNOPS] += times * n
    waves = (n + service[h.LANES] - 1) // service[h.LANES]
    duration = rows * service[h.ROW_PS] + times * (service[h.AXON_PS] + waves * service[h.SYNOP_PS])
    occupy(f, s, sink, m, now, duration)
    s.progress[task, h.ROWS] += rows
    if not service[h.VALUES] or row[h.LIST] >= 0:
        return  # spikes of 0 and 1 overflow no list's sums (simulator.listed)
    group = axon // GROUP
    at = row[h.BOUND] + slot * row[h.GROUPS] + group
    s.bound[at] += abs(payload * times) * 127
    if s.bound[at] > INT32_MAX:
        lo, hi = group * GROUP, min(group * GROUP + GROUP, n_pre)
        weight = f.weight[row[h.WEIGHT] + lo * n : row[h.WEIGHT] + hi * n]
        j, total = beyond(s.row_sums[:n], weight, s.inputs[first + lo : first + hi])
        if j >= 0:
            fail(s.reg, h.E_ACCUMULATOR, task, token, j, total)


@merged
def serve_sums(f, s, sink, m, slot, now):
    """Add a message's partial sums to their neurons; those of every chosen expert apart."""
    task = f.sink[sink, h.S_TASK]
    message = s.message[m]
    token, count, n = message[h.M_TOKEN], message[h.M_VALUE], f.task[task, h.NEURON_N]
    first = message[h.M_INDEX] + f.sink[sink, h.S_BASE]
    if f.task[task, h.KIND] != h.VECTOR or first < 0 or first + count > n:
        fail(s.reg, h.E_NO_NEURON, task, token, f.sink[sink, h.S_CORE], first)
        return
    occupy(f, s, sink, m, now, count * f.service[h.PARTIAL_PS])
    condition, which = f.tree[message[h.M_TREE], h.T_CONDITION], 0
    if condition >= 0 and condition != f.task[task, h.CONDITION]:  # the nth of those chosen
        which = 1
        for other in range(f.condition[condition, h.ROUTER_FIRST], condition):
            which += s.turn[other, token] >= 0
        if which >= f.task[task, h.SETS]:
            fail(s.reg, h.E_NOT_CHOSEN, task, token, f.sink[sink, h.S_CORE], condition)
            return
    if not f.service[h.VALUES]:
        return
    base = f.task[task, h.SUMS] + (slot * f.task[task, h.SETS] + which) * n + first
    for i in range(count):
        have, more = s.home[base + i], s.values[message[h.M_STORE], i]
        total = have + more
        if (have ^ total) & (more ^ total) < 0:  # another sign than both: it has wrapped
            neuron = f.task[task, h.NEURON_LO] + first + i
            fail(s.reg, h.E_PARTIAL, task, token, neuron, have)
        s.home[base + i] = total


@merged
def arrive(f, s, first, end, listed, m, now):
    """Cores take a message in, or park it until its token has a free set: at these sinks, or at
    those of the list of all trees'.

    Returns the task whose next token's inputs are now complete, or -1; the sinks behind it are
    left for when it has fired. Under barrier sync every such task takes its turn in the next step.
    """
    message = s.message[m]
    token, kind, tree = message[h.M_TOKEN], message[h.M_CLASS], message[h.M_TREE]
    slots, times, complete = f.service[h.SLOTS], message[h.M_TIMES], int64(-1)
    condition = f.tree[tree, h.T_CONDITION]
    for i in range(first, end):
        sink = f.tree_sinks[i] if listed else i
        task = f.sink[sink, h.S_TASK]
        turn = turn_of(f, s, task, token)
        if turn < 0 or (condition >= 0 and s.turn[condition, token] < 0):
            fail(s.reg, h.E_NOT_CHOSEN, task, token, f.sink[sink, h.S_CORE], kind)
            continue
        if turn >= s.progress[task, h.DONE] + slots:
            park(s, task, turn, sink, m)
            continue
        if turn < s.progress[task, h.NEXT]:
            fail(s.reg, h.E_LATE, task, token, f.sink[sink, h.S_CORE], kind)
            continue
        slot = turn % slots
        local = f.task[task, h.CORE] == f.tree[tree, h.SOURCE]
        if not local or kind == h.SPIKE or kind == h.MARKER:
            s.sink_got[sink, kind] += times
        taken = 0
        if kind == h.SPIKE:
            serve_spike(f, s, sink, m, slot, now)
        elif kind == h.MARKER:
            if s.received[sink, slot] != message[h.M_VALUE]:
                wanted, got = message[h.M_VALUE], s.received[sink, slot]
                fail(s.reg, h.E_LOST_SPIKES, task, token, wanted, got)
            s.received[sink, slot] = 0
            free = f.task[task, h.KIND] == h.HOST
            occupy(f, s, sink, m, now, 0 if free else f.service[h.AXON_PS])
            taken = 1
        elif kind == h.PARTIAL:
            serve_sums(f, s, sink, m, slot, now)
            taken = message[h.M_VALUE]
        else:
            taken = message[h.M_VALUE]
            free = local or f.task[task, h.KIND] == h.HOST  # the host is not timed
            occupy(f, s, sink, m, now, 0 if free else taken * f.service[h.VALUE_PS])
        if f.bounded is not None:
            wait_in_line(f, s, sink, m, now)
        drop_reference(s, m)
        if taken:
            s.got[task, slot] += taken
            missing = needed(f, s, task, token) - s.got[task, slot]
            if missing < 0:
                fail(s.reg, h.E_TOO_MANY, task, token, f.sink[sink, h.S_CORE], s.got[task, slot])
            if missing == 0 and turn == s.progress[task, h.NEXT]:
                complete = task
                if not f.service[h.BARRIER_PS]:
                    s.reg[h.R_SINK], s.reg[h.R_LAST_SINK], s.reg[h.R_TAKEN_IN] = i + 1, end, m
                    break
                if due(f, s, task) >= 0:
                    schedule_turn(s, task)
    return complete


def run(f, s, margin, most):
    """Process events until something needs Python; returns why (see state.py).

    margin: the most messages one event can create; most: turns of the loop before a PAUSE.
    """
    return engine(f, s, -1, -1, 0, margin, most)


@merged
def stop(f, s, margin):
    """Why no event can be taken now, or -1."""
    reg = s.reg
    if reg[h.R_ERROR]:
        return h.ERROR
    if reg[h.R_READY]:
        return h.READY
    nothing = reg[h.R_TAKEN] == reg[h.R_DUE] and reg[h.R_SINK] == reg[h.R_LAST_SINK]
    if nothing and (reg[h.R_HEAP] == 0 or s.heap[0, 0] == h.LATER):
        if f.bounded is not None and reg[h.R_FREE_COPIES] < s.copies.shape[0]:
            return h.STUCK
        if reg[h.R_WAVE]:
            return h.WAVE
        if reg[h.R_HEAP] == 0:
            return h.EMPTY
    room = min(reg[h.R_FREE], reg[h.R_FREE_VALUES], reg[h.R_FREE_PARKED], reg[h.R_FREE_WAITING])
    if f.bounded is not None:
        room = min(room, reg[h.R_FREE_COPIES])
    parked = s.parked.shape[0] - reg[h.R_FREE_PARKED]  # one release may bring them all back
    if reg[h.R_HEAP] + parked + margin > s.heap.shape[0] or room < margin:
        return h.GROW
    if s.trace.shape[0] and reg[h.R_TRACE] + 2 * margin > s.trace.shape[0]:
        return h.TRACE_FULL
    return -1


@borrowing
def engine(f, s, task, token, now, margin, most):
    """Fire a task for a token (-1: none), then take at most `most` turns; returns why.

    Every kernel is called from one place as far as possible: each caller compiles its callees anew.
    """
    reg, heap = s.reg, s.heap
    while True:
        while token >= 0 and not reg[h.R_ERROR]:  # what is put off came before any error
            fire(f, s, task, token, now)
            token = due(f, s, task)
        close_hole(reg, heap)
        why = stop(f, s, margin) if most else h.PAUSE
        if why >= 0:
            return why
        most -= 1
        task, kind, taking = -1, h.ARRIVE, next_is_due(reg, heap, s.due)
        if reg[h.R_CLOSED] and needed_now(f, s, taking):
            if reg[h.R_SYNAPSES] >= f.service[h.TOGETHER]:
                return h.SUMS
            sum_closed(f, s)
            if reg[h.R_ERROR]:
                return h.ERROR
        first, end, now = reg[h.R_SINK], reg[h.R_LAST_SINK], reg[h.R_NOW]
        if first < end:  # the rest of a node's sinks
            m, reg[h.R_SINK] = reg[h.R_TAKEN_IN], end
        else:
            now = reg[h.R_DUE_PS] if taking else heap[0, 0]
            if now == h.LATER:
                next_step(f, s)
                continue
            reg[h.R_NOW] = now
            if taking:
                m = s.due[reg[h.R_TAKEN], 1]
                reg[h.R_TAKEN] += 1
                tree = s.message[m, h.M_TREE]
                first = f.tree[tree, h.SINKS]
                end = first + f.tree[tree, h.FAN_OUT]
            else:
                what = heap[0, 2]
                reg[h.R_HOLE] = 1
                first, m, kind = (
                    (what >> h.INDEX_SHIFT) & h.MASK,
                    what & h.MASK,
                    what >> h.KIND_SHIFT,
                )
                end = first + 1
            reg[h.R_EVENTS] += end - first
        if kind == h.HOP:
            hop(f, s, first, m, now)
            if not f.service[h.STREAMS]:
                continue
            first, end = f.node[first, h.FIRST_SINK], f.node[first, h.LAST_SINK]
            reg[h.R_EVENTS] += end - first
        elif kind == h.RELEASE:
            task = first
            if f.service[h.STREAMS]:
                move_up(s, s.core, f.task[task, h.CORE], h.C_LAST)
            release(f, s, task, now)
        elif kind == h.TURN:
            task, token = first, token_of(f, s, first, s.progress[first, h.DONE])
            continue
        elif f.bounded is not None and kind > h.TURN:
            moved(f, s, kind, first, m, now)
            continue
        elif kind == h.LOCAL:
            move_up(s, s.core, f.sink[first, h.S_CORE], h.C_LAST)
        if kind != h.RELEASE:
            task = arrive(f, s, first, end, taking, m, now)
        if task >= 0:
            token = due(f, s, task)
            if token >= 0 and f.service[h.BARRIER_PS]:
                if kind == h.RELEASE:
                    schedule_turn(s, task)
                token = -1


@entry
def queue_wave(f, s):
    """Give a wave to the heap instead: the links are the queue's."""
    reg = s.reg
    for i in range(reg[h.R_WAVE]):
        row, m = s.wave[i], s.wave[i, h.W_MESSAGE]
        tree, tie = s.message[m, h.M_TREE], row[h.W_TIE]
        for sink in range(f.tree[tree, h.FIRST_LOCAL], f.tree[tree, h.LAST_LOCAL]):
            what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
            schedule(reg, s.heap, h.LATER, tie, what)
        if row[h.W_NODE] >= 0:
            what = (h.HOP << h.KIND_SHIFT) | (row[h.W_NODE] << h.INDEX_SHIFT) | m
            schedule(reg, s.heap, row[h.W_TIME], tie, what)
    reg[h.R_WAVE] = 0

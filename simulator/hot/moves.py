"""What firing tasks, hopping messages and finite buffers do alike: add an event, take a link."""

from simulator.hot import state as h
from simulator.hot.heap import push
from simulator.hot.jit import inner

SEQ_BITS = 40


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
def intake(f, time):
    """When a core takes in what reaches it at `time`: at once, or in the next step."""
    return h.LATER if f.service[h.BARRIER_PS] else time


@inner
def schedule_turn(s, task):
    """A task acts when the next step begins, before that step's messages are taken in."""
    what = (h.TURN << h.KIND_SHIFT) | (task << h.INDEX_SHIFT)
    schedule(s.reg, s.heap, h.LATER, h.NONE, what)


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

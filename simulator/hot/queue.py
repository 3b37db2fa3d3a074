"""The event queue: the next event of every link and core in a heap, the others in line behind it.

A link hands on in strictly increasing time, a core does one thing after another: the events of
each come in the queue's own order, (time, tie, what). Such a stream needs one event in the heap;
the next takes its place when it has been taken. So the heap is as small as the number of links and
cores that are at work, whatever waits for them.

An event that was taken leaves a hole at the heap's root, and the first new event fills it: mostly
one that sinks down a level or two, where it would else rise from the end behind another that sank.
"""

from simulator.hot import state as h
from simulator.hot.heap import push, put_first
from simulator.hot.jit import inner, merged


@inner
def schedule(reg, heap, time, tie, what):
    """Add an event of no stream, or the first of one."""
    n = reg[h.R_HEAP]
    if reg[h.R_HOLE]:
        reg[h.R_HOLE] = 0
        put_first(heap, n, time, tie, what)
    else:
        push(heap, n, time, tie, what)
        reg[h.R_HEAP] = n + 1
    reg[h.R_EVENTS_HIGH] = max(reg[h.R_EVENTS_HIGH], reg[h.R_HEAP] + reg[h.R_LINED])


@inner
def close_hole(reg, heap):
    """Nothing took the place of the event that was taken."""
    if reg[h.R_HOLE]:
        reg[h.R_HOLE] = 0
        last = reg[h.R_HEAP] - 1
        reg[h.R_HEAP] = last
        put_first(heap, last, heap[last, 0], heap[last, 1], heap[last, 2])


@merged
def follow(f, s, table, row, column, time, tie, what):
    """Add an event of a stream, later than all that it has. table[row, column] tells its last."""
    reg, last = s.reg, table[row, column]
    if last == h.IDLE or not f.service[h.STREAMS]:
        table[row, column] = h.ALONE if f.service[h.STREAMS] else h.IDLE
        schedule(reg, s.heap, time, tie, what)
        return
    reg[h.R_LINED] += 1
    length = reg[h.R_HEAP] - reg[h.R_HOLE] + reg[h.R_LINED]
    reg[h.R_EVENTS_HIGH] = max(reg[h.R_EVENTS_HIGH], length)
    reg[h.R_FREE_WAITING] -= 1
    new = s.waiting_free[reg[h.R_FREE_WAITING]]
    entry = s.waiting[new]
    entry[h.Q_TIME], entry[h.Q_TIE], entry[h.Q_WHAT], entry[h.Q_NEXT] = time, tie, what, new
    if last != h.ALONE:
        entry[h.Q_NEXT] = s.waiting[last - h.LINED, h.Q_NEXT]
        s.waiting[last - h.LINED, h.Q_NEXT] = new
    table[row, column] = new + h.LINED


@merged
def move_up(s, table, row, column):
    """The event of a stream that was in the heap has been taken: the next one's turn."""
    reg, last = s.reg, table[row, column] - h.LINED
    if last < 0:
        table[row, column] = h.IDLE
        return
    reg[h.R_LINED] -= 1
    first = s.waiting[last, h.Q_NEXT]
    entry = s.waiting[first]
    schedule(reg, s.heap, entry[h.Q_TIME], entry[h.Q_TIE], entry[h.Q_WHAT])
    if first == last:
        table[row, column] = h.ALONE
    else:
        s.waiting[last, h.Q_NEXT] = entry[h.Q_NEXT]
    s.waiting_free[reg[h.R_FREE_WAITING]] = first
    reg[h.R_FREE_WAITING] += 1

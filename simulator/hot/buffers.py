"""Links with finite buffers: a message starts when the buffer at the link's end has room for it.

A message of f flits takes f flits of that buffer from its start until the last copy that is made
of it has gone over its own link (at a tree's end: until it stands there, for cores take in without
end). Copies wait for their links independently, first come, first served, each in the buffer that
it came to, and one that waits holds up none that goes elsewhere. A source's messages wait in its
own queue, which has no end. A burst larger than a buffer needs all of it (docs/simulation.md).

Nothing is settled before its time here: a link that is freed, a copy that has gone and a core that
is done are events. At equal times they come first, so what starts finds all the room there is.
"""

from numba import int64

from simulator.hot import state as h
from simulator.hot.jit import inner
from simulator.hot.moves import cross, intake, record, schedule


@inner
def new_copy(reg, copies, m, node, above, task):
    """A message is to be taken over a node's link."""
    reg[h.R_FREE_COPIES] -= 1
    c = copies[reg[h.R_FREE_COPIES], h.Y_FREE]
    copies[c, h.Y_MESSAGE], copies[c, h.Y_NODE], copies[c, h.Y_ABOVE] = m, node, above
    copies[c, h.Y_NEXT], copies[c, h.Y_LEFT], copies[c, h.Y_TASK] = h.NONE, 0, task
    return c


@inner
def moved(f, s, kind, index, m, now):
    """An event that only finite buffers have: links may start what waits for them.

    JOIN    copy m waits for its link
    STAND   copy m stands whole in a buffer: its sinks take it, and every onward link is to
    FREED   a link (index - 1) is free again, and one copy of copy m - 1 has gone; -1: none
    SERVED  a core (index) is done with m messages
    """
    if kind == h.SERVED:
        s.core[index, h.IN_LINE] -= m
        s.reg[h.R_EVENTS] -= 1  # links without an end have none of these
        return
    first, end = int64(0), int64(1)
    if kind == h.STAND:
        arrive_whole(f, s, index, s.copies[m, h.Y_MESSAGE], now)
        first, end = f.node[index, h.FIRST_CHILD], f.node[index, h.LAST_CHILD]
    else:
        s.reg[h.R_EVENTS] -= 1
        if kind == h.FREED:
            end = int64(2)
    for i in range(first, end):
        c = m
        if kind == h.STAND:
            of = s.copies[m, h.Y_MESSAGE]
            c = new_copy(s.reg, s.copies, of, i, m, h.NONE)
        if kind != h.FREED:
            link = join(f.node, s.link, s.copies, s.message, c, now)
        elif i == 0:
            link = index - 1
            if link >= 0:
                s.link[link, h.B_BUSY] = 0
        else:
            link = gone(f.node, s.reg, s.link, s.copies, m - 1, now)
        if link >= 0:
            start_first(f, s, link, now)
            if kind == h.JOIN:
                waiting = s.link[link, h.B_WAITING]
                s.link[link, h.B_MOST_WAITING] = max(s.link[link, h.B_MOST_WAITING], waiting)


@inner
def arrive_whole(f, s, node, m, now):
    """A message's sinks at a node take it."""
    tie, taken = s.message[m, h.M_TIE], intake(f, now)
    for sink in range(f.node[node, h.FIRST_SINK], f.node[node, h.LAST_SINK]):
        what = (h.ARRIVE << h.KIND_SHIFT) | (sink << h.INDEX_SHIFT) | m
        schedule(s.reg, s.heap, taken, tie, what)


@inner
def join(node, links, copies, message, c, now):
    """A copy waits for its link, behind those that came before it; returns the link."""
    link = node[copies[c, h.Y_NODE], h.LINK]
    copies[c, h.Y_SINCE] = now
    if links[link, h.B_FIRST] < 0:
        links[link, h.B_FIRST] = c
    else:
        copies[links[link, h.B_LAST], h.Y_NEXT] = c
    links[link, h.B_LAST] = c
    links[link, h.B_WAITING] += message[copies[c, h.Y_MESSAGE], h.M_TIMES]
    return link


@inner
def gone(node, reg, links, copies, c, now):
    """One of the copies made of c has gone; the last one clears c's room: the link before it is
    returned, else -1."""
    if c < 0:
        return int64(-1)
    copies[c, h.Y_LEFT] -= 1
    if copies[c, h.Y_LEFT]:
        return int64(-1)
    link = node[copies[c, h.Y_NODE], h.LINK]
    if links[link, h.B_STARTED] < now:  # what starts now finds the room of all that leaves now
        links[link, h.B_HIGH] = max(links[link, h.B_HIGH], links[link, h.B_HELD])
    links[link, h.B_HELD] -= copies[c, h.Y_FLITS]
    copies[reg[h.R_FREE_COPIES], h.Y_FREE] = c
    reg[h.R_FREE_COPIES] += 1
    return link


@inner
def start_first(f, s, link, now):
    """The first that waits for a link starts, if the link is free and its buffer has room."""
    reg, queue = s.reg, s.link[link]
    c = queue[h.B_FIRST]
    if c < 0 or queue[h.B_BUSY]:
        return
    copy, kind = s.copies[c], f.link_kind[link]
    m, node, above = copy[h.Y_MESSAGE], copy[h.Y_NODE], copy[h.Y_ABOVE]
    row, room, width = s.message[m], f.wire[kind, h.ROOM], f.wire[kind, h.FLIT_BITS]
    bits, times = row[h.M_BITS], row[h.M_TIMES]
    flits = min(times * ((bits + width - 1) // width), room)
    if queue[h.B_HELD] + flits > room:
        return
    ready = max(copy[h.Y_SINCE], queue[h.FREE])
    start, arrive = cross(f.wire, s.link, link, kind, bits, times, now)
    free = queue[h.FREE]
    reg[h.R_QUIET] = max(reg[h.R_QUIET], free)
    queue[h.B_FIRST], queue[h.B_BUSY], queue[h.B_STARTED] = copy[h.Y_NEXT], 1, start
    queue[h.B_HIGH] = max(queue[h.B_HIGH], queue[h.B_HELD])
    queue[h.B_HELD] += flits
    queue[h.B_STALLED] += start - ready
    queue[h.B_WAITING] -= times
    copy[h.Y_FLITS], copy[h.Y_ABOVE] = flits, h.NONE  # the event below knows it
    what = (h.FREED << h.KIND_SHIFT) | ((link + 1) << h.INDEX_SHIFT) | (above + 1)
    schedule(reg, s.heap, free, h.NONE, what)
    copy[h.Y_LEFT] = f.node[node, h.LAST_CHILD] - f.node[node, h.FIRST_CHILD]
    if copy[h.Y_LEFT]:
        what = (h.STAND << h.KIND_SHIFT) | (node << h.INDEX_SHIFT) | c
    else:  # all that is left of it, when it stands there, is the message
        copy[h.Y_LEFT] = 1
        schedule(reg, s.heap, arrive, h.NONE, (h.FREED << h.KIND_SHIFT) | (c + 1))
        what = (h.HOP << h.KIND_SHIFT) | (node << h.INDEX_SHIFT) | m
    schedule(reg, s.heap, arrive, row[h.M_TIE], what)
    if above < 0:
        tree, core = row[h.M_TREE], f.tree[row[h.M_TREE], h.SOURCE]
        local = f.tree[tree, h.LAST_LOCAL] - f.tree[tree, h.FIRST_LOCAL]
        deliveries = times * (f.tree[tree, h.FAN_OUT] - local)
        record(
            reg, s.trace, start, free - start, h.T_INJECT, core, copy[h.Y_TASK],
            row[h.M_TOKEN], row[h.M_CLASS], deliveries,
        )  # fmt: skip


@inner
def wait_in_line(f, s, sink, m, now):
    """A core has put a message that came over links behind what it does: how many are there now?"""
    core, row = f.sink[sink, h.S_CORE], s.message[m]
    end = s.core[core, h.C_FREE]
    kind = row[h.M_CLASS]
    own = f.tree[row[h.M_TREE], h.SOURCE] == core and (kind == h.PARTIAL or kind == h.VALUE)
    if own or end <= now:
        return
    line, times = s.core[core], min(row[h.M_TIMES], h.MASK)
    line[h.IN_LINE] += times
    line[h.MOST_IN_LINE] = max(line[h.MOST_IN_LINE], line[h.IN_LINE])
    what = (h.SERVED << h.KIND_SHIFT) | (core << h.INDEX_SHIFT) | times
    schedule(s.reg, s.heap, end, h.NONE, what)

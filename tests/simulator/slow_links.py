"""Links with finite buffers in plain Python, moment by moment: obviously right, and slow.

At every moment: first what is to leave a buffer by then leaves it, then what comes joins the queues
of its links in order, then every link that is free starts the first of its queue, if the buffer at
its end has room. Nothing happens between two moments.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Copy:
    """A message before, on and behind one link; ps, None where it has not come to it yet."""

    tie: int
    node: int
    bits: int
    times: int
    flits: int
    above: "Copy | None"  # what it is a copy of
    came: int
    start: int | None = None
    stands: int | None = None  # whole, in the buffer behind the link
    below: list["Copy"] = field(default_factory=list)


@dataclass(eq=False)
class Link:
    flit_bits: int
    flit_ps: int
    hop_ps: int
    room: int  # 0: without end
    queue: list[Copy] = field(default_factory=list)
    inside: list[Copy] = field(default_factory=list)  # started, and has not left the buffer
    free: int = 0
    most_held: int = 0
    most_waiting: int = 0
    stalled: int = 0

    def takes(self, copy):
        """Flits of the buffer."""
        return min(copy.flits, self.room) if self.room else copy.flits

    @property
    def held(self):
        return sum(self.takes(copy) for copy in self.inside)


class SlowLinks:
    """links: number -> Link; tables: those of a program, whose trees say where messages go."""

    def __init__(self, tables, links):
        self.t, self.links, self.stands = tables, links, {}
        self.to_come = []  # (ps, tie, node, copy above, bits, times)

    def children(self, node):
        return range(int(self.t.node_first_child[node]), int(self.t.node_last_child[node]))

    def link(self, copy):
        return self.links[int(self.t.node_link[copy.node])]

    def leaves(self, copy):
        """When a copy that has started leaves its buffer: never, as far as one knows (None), before
        each copy made of it has gone over its own link."""
        if not self.children(copy.node):
            return copy.stands
        wanted = len(self.children(copy.node))
        starts = [
            c.start + c.flits * self.link(c).flit_ps for c in copy.below if c.start is not None
        ]
        return max(starts) if len(starts) == wanted else None

    def run(self, sent):
        """sent: (ps, tie, root node, bits, times)."""
        self.to_come = [(ps, tie, node, None, bits, times) for ps, tie, node, bits, times in sent]
        now = -1
        while (now := self.next_moment(now)) is not None:
            for link in self.links.values():
                link.inside = [c for c in link.inside if (self.leaves(c) or now + 1) > now]
            coming = sorted((c for c in self.to_come if c[0] == now), key=lambda c: c[1:3])
            self.to_come = [c for c in self.to_come if c[0] > now]
            for _, tie, node, above, bits, times in coming:
                link = self.links[int(self.t.node_link[node])]
                flits = times * -(-bits // link.flit_bits)
                copy = Copy(tie, node, bits, times, flits, above, now)
                if above:
                    above.below.append(copy)
                link.queue.append(copy)
            for link in self.links.values():
                self.start(link, now)
                link.most_held = max(link.most_held, link.held)
                waiting = sum(c.times for c in link.queue)
                link.most_waiting = max(link.most_waiting, waiting)

    def start(self, link, now):
        if not link.queue or link.free > now:
            return
        copy = link.queue[0]
        if link.room and link.held + link.takes(copy) > link.room:
            return
        link.queue.pop(0)
        link.inside.append(copy)
        link.stalled += now - max(copy.came, link.free)
        link.free = now + copy.flits * link.flit_ps
        copy.start = now
        copy.stands = now + link.hop_ps + (copy.flits - 1) * link.flit_ps
        self.stands[copy.tie, copy.node] = copy.stands
        for child in self.children(copy.node):
            self.to_come.append((copy.stands, copy.tie, child, copy, copy.bits, copy.times))

    def next_moment(self, now):
        """The next time at which something comes, is free, or leaves."""
        times = [c[0] for c in self.to_come]
        for link in self.links.values():
            times.append(link.free)
            times += [self.leaves(c) or 0 for c in link.inside]
        return min((ps for ps in times if ps > now), default=None)

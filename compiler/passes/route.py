"""Dimension-order multicast trees: along x in the source's row, then along y.

Every net becomes one tree. Trees are flat arrays of nodes in breadth-first order;
a node is a router, entered over one link. XY order makes a router of a tree
reachable over one link only, and keeps link dependencies free of cycles.
"""

from collections import defaultdict
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from compiler.passes.pack import Packing
from compiler.passes.partition import Grid
from compiler.passes.place import Placement
from compiler.tasks import Dataflow, Net
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit

I32 = NDArray[np.int32]
EAST, WEST, NORTH, SOUTH = range(4)
STEP = ((1, 0), (-1, 0), (0, -1), (0, 1))


@dataclass(frozen=True, slots=True)
class Links:
    """Numbering of links: one injection link per core, the host's, four per router, to the host."""

    grid: Grid

    @property
    def n_cores(self) -> int:
        return self.grid.width * self.grid.height * self.grid.cores_per_router

    @property
    def host_in(self) -> int:
        return self.n_cores

    @property
    def host_out(self) -> int:
        return self.n_cores + 1 + 4 * self.grid.width * self.grid.height

    @property
    def n_links(self) -> int:
        return self.host_out + 1

    def out_of(self, router: int, direction: int) -> int:
        return self.n_cores + 1 + 4 * router + direction

    def kind(self, link: int) -> str:
        """Name of a link's kind (hw_models.events.LINKS)."""
        if link < self.n_cores:
            return "local"
        if link in (self.host_in, self.host_out):
            return "host"
        router, direction = divmod(link - self.n_cores - 1, 4)
        x, y = router % self.grid.width, router // self.grid.width
        dx, dy = STEP[direction]
        if dx:
            return "chip_x" if (x // self.grid.chip_w) != ((x + dx) // self.grid.chip_w) else "x"
        return "chip_y" if (y // self.grid.chip_h) != ((y + dy) // self.grid.chip_h) else "y"


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees, one per net of the dataflow, in the nets' order.

    root[tree] first node (or -1: every sink shares the source's core)
    source[tree] core that injects; first_local/last_local[tree] sinks on that core (values, sums)
    link, first_child, last_child, first_sink, last_sink[node]; ranges are half open
    sink_core, sink_task, sink_base[sink]; base is added to the net's own channel or neuron number
    """

    root: I32
    source: I32
    first_local: I32
    last_local: I32
    link: I32
    first_child: I32
    last_child: I32
    first_sink: I32
    last_sink: I32
    sink_core: I32
    sink_task: I32
    sink_base: I32


@dataclass(slots=True)
class _Builder:
    links: Links
    trees: list[tuple[int, int, int, int]]
    nodes: list[list[int]]
    sinks: list[tuple[int, int, int]]


def core_of_task(flow: Dataflow, packing: Packing, placement: Placement) -> list[int]:
    """Physical core of every task; the host's number for tasks on the host."""
    cores = [placement.host] * len(flow.tasks)
    for unit, logical in zip(flow.units, packing.core_of, strict=True):
        for task in unit.tasks:
            cores[task] = placement.host if logical < 0 else placement.physical[logical]
    return cores


def sink_base(flow: Dataflow, net: Net, sink: int) -> int:
    """What turns a net's channel or neuron number into the sink's own row or neuron."""
    task = flow.tasks[sink]
    if net.message == "spike" and task.tile is not None:
        return -task.tile.pre
    if net.message == "partial" and task.neurons is not None:
        return -task.neurons[0]
    return 0


def route(flow: Dataflow, packing: Packing, placement: Placement, chip: Chip) -> Trees:
    """One tree per net. Raises DoesNotFit when a router's table has too few entries."""
    links = Links(placement.grid)
    cores = core_of_task(flow, packing, placement)
    out = _Builder(links, [], [], [])
    entries: dict[int, int] = defaultdict(int)
    for net in flow.nets:
        source = cores[net.source]
        sinks = [(cores[s], s, sink_base(flow, net, s)) for s in net.sinks]
        local = [s for s in sinks if s[0] == source and net.message != "spike"]
        remote = [s for s in sinks if s not in local]
        first = len(out.sinks)
        out.sinks += local
        root = -1
        if remote:
            root = len(out.nodes)
            for router in _grow(out, source, remote):
                entries[router] += 1
        out.trees.append((root, source, first, first + len(local)))
    for router, used in sorted(entries.items()):
        if used > chip.core.table_entries:
            raise DoesNotFit(
                f"{used} trees pass the router, its table has {chip.core.table_entries} entries",
                where=f"router ({router % links.grid.width}, {router // links.grid.width})",
                fix="--set core.table_entries=... or a target with larger tables",
            )
    columns = [np.array(c, np.int32) for c in zip(*out.trees, strict=True)]
    nodes = [np.array(c, np.int32) for c in zip(*out.nodes, strict=True)]
    ends = [np.array(c, np.int32) for c in zip(*out.sinks, strict=True)]
    return Trees(*columns, *nodes, *ends)


def _router_of(links: Links, core: int) -> int:
    """The host is attached to router 0."""
    return 0 if core == links.n_cores else core // links.grid.cores_per_router


def _grow(out: _Builder, source: int, sinks: list[tuple[int, int, int]]) -> list[int]:
    """Append the nodes and sinks of one tree; return the routers it passes."""
    links, width = out.links, out.links.grid.width
    start = _router_of(links, source)
    children: dict[int, dict[int, int]] = {start: {}}  # router -> direction -> router
    at: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for sink in sinks:
        router = _router_of(links, sink[0])
        at[router].append(sink)
        here = start
        while here != router:
            x, y, gx, gy = here % width, here // width, router % width, router // width
            if x != gx:
                direction = EAST if gx > x else WEST
            else:
                direction = SOUTH if gy > y else NORTH
            dx, dy = STEP[direction]
            ahead = here + dx + dy * width
            children[here][direction] = ahead
            children.setdefault(ahead, {})
            here = ahead
    first_link = links.host_in if source == links.n_cores else source
    queue = [(start, first_link)]
    base = len(out.nodes)
    for router, link in queue:  # grows while it is walked: breadth first
        first_child = base + len(queue)
        queue += [(r, links.out_of(router, d)) for d, r in sorted(children[router].items())]
        last_child = base + len(queue)
        here_sinks = [s for s in at[router] if s[0] != links.n_cores]
        first_sink = len(out.sinks)
        out.sinks += here_sinks
        out.nodes.append([link, first_child, last_child, first_sink, len(out.sinks)])
    host = [s for s in at[0] if s[0] == links.n_cores] if 0 in at else []
    if host:
        _host_leaf(out, base, queue, host)
    return [router for router, _ in queue]


def _host_leaf(
    out: _Builder, base: int, queue: list[tuple[int, int]], host: list[tuple[int, int, int]]
) -> None:
    """The host hangs below router 0 on a link of its own; trees to it have no other leaf."""
    leaf, first = len(out.nodes), len(out.sinks)
    out.sinks += host
    out.nodes.append([out.links.host_out, leaf + 1, leaf + 1, first, len(out.sinks)])
    parent = base + [r for r, _ in queue].index(0)
    if out.nodes[parent][1] != out.nodes[parent][2]:
        raise Bug("a tree to the host goes on beyond router 0", where="route")
    out.nodes[parent][1:3] = [leaf, leaf + 1]


def verify(trees: Trees, flow: Dataflow, packing: Packing, placement: Placement) -> None:
    """Replay every tree by the geometry of its links; each net reaches exactly its sinks' cores."""
    links = Links(placement.grid)
    cores = core_of_task(flow, packing, placement)
    width = links.grid.width
    for i, net in enumerate(flow.nets):
        found = [
            (int(trees.sink_task[s]), int(trees.sink_core[s]), int(trees.sink_base[s]))
            for s in range(trees.first_local[i], trees.last_local[i])
        ]
        if any(core != cores[net.source] for _, core, _ in found):
            raise Bug(f"net {i} has a local sink elsewhere", where="route")
        todo = [] if trees.root[i] < 0 else [int(trees.root[i])]
        injection = links.host_in if cores[net.source] == links.n_cores else cores[net.source]
        if trees.source[i] != cores[net.source] or (todo and trees.link[todo[0]] != injection):
            raise Bug(f"net {i} does not begin at core {cores[net.source]}", where="route")
        turned: dict[int, bool] = {}  # node -> has moved along y
        seen: set[int] = set()
        while todo:
            node = todo.pop()
            if node in seen:
                raise Bug(f"net {i} comes back to node {node}", where="route")
            seen.add(node)
            link = int(trees.link[node])
            router = _end_of(links, link, width)
            for s in range(trees.first_sink[node], trees.last_sink[node]):
                core = int(trees.sink_core[s])
                if (-1 if core == links.n_cores else core // links.grid.cores_per_router) != router:
                    raise Bug(f"net {i} leaves core {core} at router {router}", where="route")
                found.append((int(trees.sink_task[s]), core, int(trees.sink_base[s])))
            for child in range(trees.first_child[node], trees.last_child[node]):
                step = int(trees.link[child])
                if step != links.host_out:
                    start, direction = divmod(step - links.n_cores - 1, 4)
                    if start != router:
                        raise Bug(f"net {i} jumps from router {router} to {start}", where="route")
                    if turned.get(node, False) and direction in (EAST, WEST):
                        raise Bug(f"net {i} turns from y to x", where="route")
                    turned[child] = direction in (NORTH, SOUTH)
                todo.append(child)
        if sorted(found) != sorted((s, cores[s], sink_base(flow, net, s)) for s in net.sinks):
            raise Bug(f"net {i} reaches {found}, meant for {net.sinks}", where="route")


def verify_deadlock_free(trees: Trees) -> None:
    """A message holds a link while it waits for the next ones: that relation has no cycle.

    Forks count: a node's link depends on every child's link (Dally and Seitz, 1987).
    """
    waits = nx.DiGraph()
    for node, link in enumerate(trees.link):
        ahead = range(trees.first_child[node], trees.last_child[node])
        waits.add_edges_from((int(link), int(trees.link[child])) for child in ahead)
    if not nx.is_directed_acyclic_graph(waits):
        cycle = [a for a, _ in nx.find_cycle(waits)]
        raise Bug(f"links {cycle} wait for each other", where="route")


def _end_of(links: Links, link: int, width: int) -> int:
    """Router where a link ends; -1 for the host."""
    if link == links.host_out:
        return -1
    if link <= links.host_in:
        return _router_of(links, link)
    router, direction = divmod(link - links.n_cores - 1, 4)
    dx, dy = STEP[direction]
    return router + dx + dy * width

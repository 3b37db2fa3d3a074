"""Traffic on a square mesh, dimension by dimension, as streams of simulator.noc.

Every router has a core with a link into it and four links to its neighbours. One flit per message:
a link is busy for 1 ns and hands on after 4 ns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.hot.noc import Net, carry
from simulator.noc import scratch_of, streams

I64 = NDArray[np.int64]

FLIT_PS, HOP_PS = 1000, 4000
WIRE = np.array([[32, FLIT_PS, HOP_PS]], np.int64)
ONE_FLIT = np.ones((1, 1), np.int64)
EAST, WEST, NORTH, SOUTH = range(4)


@dataclass(frozen=True, slots=True)
class Trees:
    """source[tree], links below its root, and how many cores it reaches, its own left out."""

    net: Net
    source: I64
    crossings: I64
    reached: I64
    n_links: int


def unicasts(size: int, per_core: int, rng: np.random.Generator) -> Trees:
    """`per_core` random destinations of every core, each a path in x, then in y."""
    n = size * size
    source = np.repeat(np.arange(n), per_core)
    x, y = source % size, source // size
    dx, dy = rng.integers(0, size, source.size) - x, rng.integers(0, size, source.size) - y
    hops = np.abs(dx) + np.abs(dy)
    begin = np.concatenate([[0], np.cumsum(hops + 1)])
    tree = np.repeat(np.arange(source.size), hops + 1)
    k = np.arange(begin[-1]) - begin[tree]  # links behind the root's
    east = np.minimum(np.maximum(k - 1, 0), np.abs(dx[tree]))  # of the router that it comes from
    north = np.maximum(k - 1, 0) - east
    sx, sy = np.sign(dx[tree]), np.sign(dy[tree])
    router = x[tree] + sx * east + size * (y[tree] + sy * north)
    along_x = k <= np.abs(dx[tree])
    way = np.where(along_x, np.where(sx > 0, EAST, WEST), np.where(sy > 0, NORTH, SOUTH))
    link = np.where(k == 0, source[tree], n + 4 * router + way)
    node = np.arange(begin[-1])
    last = k == hops[tree]
    children = node + 1, node + 1 + ~last
    parent = np.where(k == 0, -1, node - 1)
    return _trees(link, children, parent, tree, source, last & (k > 0), 5 * n)


def multicasts(size: int, sources: int, block: tuple[int, int], rng: np.random.Generator) -> Trees:
    """Trees from random cores to all cores of a random block: along x, and up and down columns."""
    width, height = block
    link, first, end, parent, tree, stops = ([] for _ in range(6))
    chosen = rng.choice(size * size, sources, replace=False)
    for number, source in enumerate(chosen.tolist()):
        left, low = rng.integers(0, size - width + 1), rng.integers(0, size - height + 1)
        goals = [(x, y) for x in range(left, left + width) for y in range(low, low + height)]
        _grow(size, source, goals, number, (link, first, end, parent, tree, stops))
    columns = [np.array(c, np.int64) for c in (link, first, end, parent, tree)]
    goal = np.array(stops, bool)
    return _trees(
        columns[0], (columns[1], columns[2]), columns[3], columns[4], chosen, goal, 5 * size**2
    )


def _grow(
    size: int, source: int, goals: list[tuple[int, int]], number: int, out: tuple[list[int], ...]
) -> None:
    """Append a tree's nodes, breadth first."""
    link, first, end, parent, tree, stops = out
    steps: dict[int, set[tuple[int, int]]] = {}
    for gx, gy in goals:
        x, y = source % size, source // size
        while (x, y) != (gx, gy):
            here = x + size * y
            if x != gx:
                way, x = (EAST, x + 1) if gx > x else (WEST, x - 1)
            else:
                way, y = (NORTH, y + 1) if gy > y else (SOUTH, y - 1)
            steps.setdefault(here, set()).add((way, x + size * y))
    begin = len(link)
    link.append(source)
    parent.append(-1)
    routers = [source]
    for at, router in enumerate(routers):
        first.append(begin + len(routers))
        for way, to in sorted(steps.get(router, ())):
            link.append(size * size + 4 * router + way)
            parent.append(begin + at)
            routers.append(to)
        end.append(begin + len(routers))
    tree.extend([number] * len(routers))
    wanted = {x + size * y for x, y in goals} - {source}
    stops.extend(router in wanted for router in routers)


def _trees(
    link: I64,
    children: tuple[I64, I64],
    parent: I64,
    tree: I64,
    source: I64,
    stops: NDArray[np.bool_],
    n_links: int,
) -> Trees:
    kinds = np.zeros(n_links, np.int8)
    net = streams(link, parent, tree, source.size, np.where(stops, np.arange(link.size), -1), kinds)
    if net is None:
        raise ValueError("links in a circle")
    return Trees(net, source, np.bincount(tree) - 1, net.tree_stops, n_links)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Messages at their roots, each source's one after another."""

    time: I64
    tree: I64
    crossings: int
    deliveries: int


def traffic(trees: Trees, n: int, window_ps: int, rng: np.random.Generator) -> Traffic:
    """n messages of random trees, ready at random times of a window; a source injects in series."""
    tree = rng.integers(0, trees.source.size, n)
    ready = rng.integers(0, window_ps, n)
    order = np.lexsort((ready, trees.source[tree]))
    tree, ready, source = tree[order], ready[order], trees.source[tree[order]]
    # start = max(ready, the one before + 1 flit), source by source
    slot, apart = np.arange(n) * FLIT_PS, source * (4 * window_ps + n * FLIT_PS)
    start = np.maximum.accumulate(ready - slot + apart) + slot - apart
    crossings, deliveries = int(trees.crossings[tree].sum()), int(trees.reached[tree].sum())
    return Traffic(start + HOP_PS, tree, crossings, deliveries)


def arrivals(trees: Trees, of: Traffic) -> tuple[I64, I64]:
    """(arrivals at cores as `carry` tells them, links' state): the work that is measured."""
    links, stood = np.zeros((trees.n_links, 2), np.int64), np.empty((of.deliveries, 2), np.int64)
    scratch = scratch_of(trees.net)
    status, _, crossings, n = carry(
        trees.net, WIRE, of.time, of.tree, ONE_FLIT, links, scratch, stood
    )
    if status or crossings != of.crossings or n != of.deliveries:
        raise ValueError(f"status {status}, {crossings} of {of.crossings} links crossed")
    return stood, links

"""The links of a program as the heap-free evaluation takes them (simulator.hot.noc)."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import parent_of_node, tree_of_node
from compiler.program import Program
from simulator.hot import state as h
from simulator.hot.engine import queue_wave
from simulator.hot.noc import SEVERAL, TOO_LONG, Net, carry
from simulator.hot.order import rank, straighten
from simulator.hot.state import Fixed, State
from simulator.hot.streams import Waiting
from simulator.machine import enlarged

_NOT_WANTED = np.zeros((0, 2), np.int64)


def net_of(program: Program, *, stopping: bool = False) -> Net | None:
    """Streams of all trees; None for links in a circle, which have no first one.

    stopping: whether it is asked when messages stand at their sinks, not only at what time all do.
    """
    t = program.tables
    parent = parent_of_node(t)
    tree, stops = tree_of_node(t, parent), (t.node_first_sink < t.node_last_sink) & stopping
    return streams(t.node_link, parent, tree, t.tree_root.size, stops, t.link_kind)


def streams(
    node_link: NDArray[np.integer],
    parent: NDArray[np.integer],
    tree: NDArray[np.integer],
    n_trees: int,
    stops: NDArray[np.bool_],
    link_kind: NDArray[np.integer],
) -> Net | None:
    """Of trees whose nodes come after their parents: link, parent (or -1) and tree of every node,
    and whether it is a stop, whose times may be asked for."""
    link, n_links = node_link.astype(np.int64), link_kind.size
    below = np.flatnonzero(parent >= 0)
    above = parent[below]
    pairs, pair = np.unique(link[above] * n_links + link[below], return_inverse=True)
    order, ranked = rank(pairs // n_links, pairs % n_links, n_links)
    if ranked < n_links:
        return None
    place = np.empty(n_links, np.int64)
    place[order] = np.arange(n_links)
    leaves, leads = place[pairs // n_links], place[pairs % n_links]
    used = np.bincount(pair, minlength=pairs.size)
    by_place = np.lexsort((-used, leaves))  # of a place's edges, the first one goes straight on
    edge = np.empty(pairs.size, np.int64)
    edge[by_place] = np.arange(pairs.size)
    edge = edge[pair]
    place_edge = _begins(np.bincount(leaves, minlength=n_links))

    position = np.full(link.size, -1, np.int64)
    position[below] = np.arange(below.size)
    children = np.bincount(above, minlength=link.size)
    child = np.zeros(below.size, np.int64)
    inner = parent[above] >= 0
    child[position[above[inner]]] = np.flatnonzero(inner)
    goes_on = (children[below] == 1) & ~stops[below]
    goes_on &= edge[child] == place_edge[leads[pair]]
    bits = max(1, int(below.size).bit_length())
    left, last = straighten(child, goes_on, (1 << max(0, 32 - bits)) - 1)
    kept = np.flatnonzero(left == 0)
    number = np.full(below.size, -1, np.int64)
    number[kept[np.argsort(leads[pair][kept], kind="stable")]] = np.arange(kept.size)
    way = (left << bits) | number[last]

    holder = np.where(inner, number[position[above]], -1)
    owner = np.where(inner, n_trees + holder, tree[above])
    listed = np.flatnonzero(~inner | (holder >= 0))
    listed = listed[np.argsort(owner[listed], kind="stable")]
    onward = (edge[listed] << 32 | way[listed]).astype(np.uint64)
    sizes = np.bincount(owner[listed], minlength=n_trees + kept.size)
    lone = sizes == 1
    lone[:n_trees] = False
    branching = ~np.repeat(lone, sizes)
    row = _begins(np.where(lone, 0, sizes))[:-1].astype(np.uint64)
    node = (SEVERAL + sizes).astype(np.uint64) << np.uint64(32) | row
    node[lone] = onward[~branching]

    nodes = np.argsort(tree, kind="stable")
    stopping = nodes[stops[nodes] & (parent[nodes] >= 0)]
    stop = np.full(kept.size, -1, np.int32)
    tree_stops = np.bincount(tree[stopping], minlength=n_trees)
    stop[number[position[stopping]]] = np.arange(stopping.size) - np.repeat(
        _begins(tree_stops)[:-1], tree_stops
    )
    return Net(
        node=node[n_trees:],
        branch=onward[branching],
        straight=1 << bits,
        tree_first=_begins(sizes[:n_trees]),
        stop=stop,
        tree_stops=tree_stops,
        place_edge=place_edge,
        edge_place=leads[by_place],
        place_link=order,
        place_kind=link_kind[order].astype(np.int64),
        most=max(2, int(np.bincount(leads, minlength=1).max())),
    )


def _begins(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each of some ranges of these sizes begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def scratch_of(net: Net) -> Waiting:
    """Room for one wave at a time."""
    return Waiting(
        at=np.zeros(net.edge_place.size + 1, np.int64),
        size=np.zeros(net.edge_place.size, np.int64),
        next=np.zeros(net.edge_place.size, np.int64),
        first=np.zeros(net.place_link.size, np.int64),
        touched=np.zeros(net.place_link.size // 64 + 1, np.uint64),
    )


def carry_wave(net: Net, scratch: Waiting, fixed: Fixed, state: State) -> State:
    """What was sent in this step goes over its links, and is due in the next.

    Where a step lasts longer than the evaluation can tell, its messages go to the event queue.
    """
    reg = state.reg
    sent = state.wave[: reg[h.R_WAVE]]
    wave = sent[np.argsort(sent[:, h.W_TIE], kind="stable")]
    status, quiet, crossings = carry(
        net, fixed.wire, state.message, wave, state.link, scratch, _NOT_WANTED
    )
    if status == TOO_LONG:
        local = int((fixed.tree[:, h.LAST_LOCAL] - fixed.tree[:, h.FIRST_LOCAL]).max())
        while reg[h.R_HEAP] + wave.shape[0] * (1 + local) > state.heap.shape[0]:
            state = enlarged(state)
        queue_wave(fixed, state)
        return state
    state.due[: wave.shape[0]] = wave[:, [h.W_TIE, h.W_MESSAGE]]
    reg[[h.R_WAVE, h.R_TAKEN, h.R_DUE, h.R_DUE_PS]] = 0, 0, wave.shape[0], h.LATER
    reg[h.R_QUIET] = max(reg[h.R_QUIET], quiet)
    reg[h.R_EVENTS] += crossings + int((wave[:, h.W_NODE] >= 0).sum())
    return state

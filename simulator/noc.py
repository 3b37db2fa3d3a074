"""The links of a program as the heap-free evaluation takes them (simulator.hot.noc)."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import parent_of_node, tree_of_node
from compiler.program import Program
from simulator.hot import state as h
from simulator.hot.engine import queue_wave
from simulator.hot.noc import TOO_LONG, Net, Scratch, carry, rank
from simulator.hot.state import Fixed, State
from simulator.machine import enlarged

_NOT_WANTED = np.zeros(0, np.int64)


def net_of(program: Program) -> Net | None:
    """Streams of all trees; None for links in a circle, which have no first one."""
    t = program.tables
    parent = parent_of_node(t)
    trees = tree_of_node(t, parent), t.tree_root.size
    children, stops = (t.node_first_child, t.node_last_child), t.node_first_sink < t.node_last_sink
    return streams(t.node_link, children, parent, *trees, stops, t.link_kind)


def streams(
    node_link: NDArray[np.integer],
    children: tuple[NDArray[np.integer], NDArray[np.integer]],
    parent: NDArray[np.integer],
    tree: NDArray[np.integer],
    n_trees: int,
    stops: NDArray[np.bool_],
    link_kind: NDArray[np.integer],
) -> Net | None:
    """Of trees whose nodes come after their parents: link, children [first, last), parent (or -1),
    tree of every node, and whether it has sinks."""
    link, n_links = node_link.astype(np.int64), link_kind.size
    below = np.flatnonzero(parent >= 0)
    pairs, edge_of = np.unique(link[parent[below]] * n_links + link[below], return_inverse=True)
    above, behind = pairs // n_links, pairs % n_links
    order, ranked = rank(above, behind, n_links)
    if ranked < n_links:
        return None
    place_of = np.empty(n_links, np.int64)
    place_of[order] = np.arange(n_links)
    places = place_of[behind]
    by_place = np.argsort(places, kind="stable")
    renumbered = np.empty(pairs.size, np.int64)
    renumbered[by_place] = np.arange(pairs.size)
    edge = np.full(link.size, -1, np.int64)
    edge[below] = renumbered[edge_of]

    nodes = np.argsort(tree, kind="stable")
    stopping = nodes[stops[nodes] & (parent[nodes] >= 0)]
    stop = np.full(link.size, -1, np.int64)
    stop[stopping] = np.arange(stopping.size)
    return Net(
        node=np.stack([*children, edge, stop], axis=1).astype(np.int32),
        tree_first=_begins(np.bincount(tree, minlength=n_trees)),
        nodes=nodes.astype(np.int64),
        stop_first=_begins(np.bincount(tree[stopping], minlength=n_trees)),
        edge_place=places[by_place],
        place_edge=_begins(np.bincount(places, minlength=n_links)),
        place_link=order,
        place_kind=link_kind[order].astype(np.int64),
    )


def _begins(sizes: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each of some ranges of these sizes begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def scratch_of(net: Net) -> Scratch:
    """Room for one wave at a time."""
    return Scratch(
        edge=np.zeros(net.edge_place.size, np.int64),
        tree=np.zeros(net.tree_first.size - 1, np.int64),
        touched=np.zeros(net.place_link.size // 64 + 1, np.uint64),
    )


def carry_wave(net: Net, scratch: Scratch, fixed: Fixed, state: State) -> State:
    """What was sent in this step goes over its links, and is due in the next.

    Where a step lasts longer than the evaluation can tell, its messages go to the event queue.
    """
    reg = state.reg
    sent = state.wave[: reg[h.R_WAVE]]
    wave = sent[np.argsort(sent[:, h.W_TIE])]
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

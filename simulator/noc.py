"""The links of a program as the heap-free evaluation takes them (simulator.hot.noc)."""

import numpy as np

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
    link, parent = t.node_link.astype(np.int64), parent_of_node(t)
    below = np.flatnonzero(parent >= 0)
    n_links = t.link_kind.size
    pairs, edge_of = np.unique(link[parent[below]] * n_links + link[below], return_inverse=True)
    order, ranked = rank(pairs // n_links, pairs % n_links, n_links)
    if ranked < n_links:
        return None
    place_of = np.empty(n_links, np.int64)
    place_of[order] = np.arange(n_links)
    # edges by the place they lead to
    places = place_of[pairs % n_links]
    by_place = np.argsort(places, kind="stable")
    edge = np.full(link.size, -1, np.int64)
    new = np.empty(pairs.size, np.int64)
    new[by_place] = np.arange(pairs.size)
    edge[below] = new[edge_of]

    tree = tree_of_node(t, parent)
    nodes = np.argsort(tree, kind="stable")
    tree_first = np.concatenate([[0], np.cumsum(np.bincount(tree, minlength=t.tree_root.size))])
    position = np.empty(link.size, np.int64)
    position[nodes] = np.arange(link.size)
    columns = (t.node_first_child, t.node_last_child, edge, position)
    counts = np.bincount(places, minlength=n_links)
    return Net(
        node=np.stack(columns, axis=1).astype(np.int32),
        tree_first=tree_first.astype(np.int64),
        nodes=nodes.astype(np.int64),
        edge_place=places[by_place],
        place_edge=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        place_link=order,
        place_kind=t.link_kind[order].astype(np.int64),
    )


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

"""The links of a program as the heap-free evaluation takes them (simulator.hot.noc)."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import parent_of_node, tree_of_node
from compiler.program import Program
from simulator.growth import enlarged
from simulator.hot import state as h
from simulator.hot.engine import queue_wave
from simulator.hot.noc import SEVERAL, TOO_LONG, Net, carry
from simulator.hot.order import rank, straighten
from simulator.hot.state import Fixed, State
from simulator.hot.streams import Waiting

I64, U64, Flags = NDArray[np.int64], NDArray[np.uint64], NDArray[np.bool_]

_NOT_WANTED = np.zeros((0, 2), np.int64)


def net_of(program: Program, *, stopping: bool = False) -> Net | None:
    """Streams of all trees; None for links in a circle, which have no first one.

    stopping: whether it is asked when messages stand at their sinks, not only at what time all do.
    """
    t = program.tables
    parent = parent_of_node(t)
    stops = (t.node_first_sink < t.node_last_sink) & stopping
    return streams(
        t.node_link, parent, tree_of_node(t, parent), t.tree_root.size,
        np.where(stops, t.node_first_sink, -1), t.link_kind,
    )  # fmt: skip


def streams(
    node_link: NDArray[np.integer],
    parent: NDArray[np.integer],
    tree: NDArray[np.integer],
    n_trees: int,
    stop: NDArray[np.integer],
    link_kind: NDArray[np.integer],
) -> Net | None:
    """Of trees whose nodes come after their parents: link, parent (or -1) and tree of every node,
    and a number of those whose times may be asked for, -1 of others."""
    link, n_links = node_link.astype(np.int64), link_kind.size
    below = np.flatnonzero(parent >= 0)  # from here on, nodes are numbered among these
    pairs, pair = np.unique(link[parent[below]] * n_links + link[below], return_inverse=True)
    order, ranked = rank(pairs // n_links, pairs % n_links, n_links)
    if ranked < n_links:
        return None
    place = _numbers(order, n_links)
    leaves, leads = place[pairs // n_links], place[pairs % n_links]
    used = np.bincount(pair, minlength=pairs.size)
    by_place = np.lexsort((-used, leaves))  # most go straight on
    edge, its_place = _numbers(by_place, pairs.size)[pair], leads[pair]
    place_edge = _begins(np.bincount(leaves, minlength=n_links))

    tree, above, stop = tree[below], _numbers(below, link.size)[parent[below]], stop[below]
    stops = stop >= 0
    way, number, straight = _ways(above, edge, place_edge[its_place], its_place, stops)
    kept = int(number.max(initial=-1)) + 1
    held = np.where(number[above] < 0, -1, n_trees + number[above])
    owner = np.where(above < 0, tree, held)
    node, branch, tree_first = _onward(edge, way, owner, n_trees, kept)
    stop_of_kept = np.full(kept, -1, np.int32)
    stop_of_kept[number[stops]] = stop[stops]
    return Net(
        node=node,
        branch=branch,
        straight=straight,
        tree_first=tree_first,
        stop=stop_of_kept,
        tree_stops=np.bincount(tree[stops], minlength=n_trees),
        place_edge=place_edge,
        edge_place=leads[by_place],
        place_link=order,
        place_kind=link_kind[order].astype(np.int64),
        most=max(2, int(np.bincount(leads, minlength=1).max())),
    )


def _ways(above: I64, edge: I64, main: I64, place: I64, stops: Flags) -> tuple[I64, I64, int]:
    """(Way to every node, number of each that is looked up there or -1, Net.straight).

    above: the node before, or -1; main: the edge on which one goes straight on from a node.
    """
    behind = np.flatnonzero(above >= 0)
    child = np.zeros(above.size, np.int64)
    child[above[behind]] = behind
    lone = np.bincount(above[behind], minlength=above.size) == 1
    bits = max(1, above.size.bit_length())
    most = (1 << max(0, 32 - bits)) - 1
    left, last = straighten(child, lone & ~stops & (edge[child] == main), most)
    kept = np.flatnonzero(left == 0)
    number = np.full(above.size, -1, np.int64)
    number[kept[np.argsort(place[kept], kind="stable")]] = np.arange(kept.size)
    return (left << bits) | number[last], number, 1 << bits


def _onward(edge: I64, way: I64, owner: I64, n_trees: int, n_nodes: int) -> tuple[U64, U64, I64]:
    """Net.node, branch and tree_first, of nodes below a tree's root, the node n_trees + n, or -1:
    one that goes straight on."""
    listed = np.flatnonzero(owner >= 0)
    listed = listed[np.argsort(owner[listed], kind="stable")]
    onward = (edge[listed] << 32 | way[listed]).astype(np.uint64)
    sizes = np.bincount(owner[listed], minlength=n_trees + n_nodes)
    lone = sizes == 1
    lone[:n_trees] = False
    branching = ~np.repeat(lone, sizes)
    row = _begins(np.where(lone, 0, sizes))[:-1].astype(np.uint64)
    node = (SEVERAL + sizes).astype(np.uint64) << np.uint64(32) | row
    node[lone] = onward[~branching]
    return node[n_trees:], onward[branching], _begins(sizes[:n_trees])


def _numbers(chosen: I64, n: int) -> I64:
    """Where each of n things stands among those chosen; -1 for others."""
    number = np.full(n, -1, np.int64)
    number[chosen] = np.arange(chosen.size)
    return number


def _begins(sizes: NDArray[np.integer]) -> I64:
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


def flits_of(wire: I64, bits: I64, times: I64) -> I64:
    """int64[kinds, messages], or [kinds, 1] where all are alike."""
    if bits.size and (bits == bits[0]).all() and (times == times[0]).all():
        bits, times = bits[:1], times[:1]
    return times * -(-bits // wire[:, h.FLIT_BITS, None])


def carry_wave(net: Net, scratch: Waiting, fixed: Fixed, state: State) -> State:
    """What was sent in this step goes over its links, and is due in the next.

    Where a step lasts longer than the evaluation can tell, its messages go to the event queue.
    """
    reg = state.reg
    sent = state.wave[: reg[h.R_WAVE]]
    wave = sent[np.argsort(sent[:, h.W_TIE], kind="stable")]
    tree, bits, times = state.message[
        wave[:, h.W_MESSAGE, None], [h.M_TREE, h.M_BITS, h.M_TIMES]
    ].T.copy()
    tree[wave[:, h.W_NODE] < 0] = -1
    status, quiet, crossings, _ = carry(
        net, fixed.wire, wave[:, h.W_TIME].copy(), tree, flits_of(fixed.wire, bits, times),
        state.link, scratch, _NOT_WANTED,
    )  # fmt: skip
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

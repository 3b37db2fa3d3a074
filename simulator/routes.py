"""The ways of a program's messages over links and into cores, as simulator.hot.contention takes
them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import parent_of_node, ranges, tree_of_node, tree_of_sink
from compiler.program import HOST, PARTIAL, SPIKE, TILE, VALUE, Program
from hw_models.errors import Bug
from hw_models.events import LINKS, MESSAGES
from simulator.hot import contention as hot
from simulator.hot.contention import Routes
from simulator.hot.order import rank
from simulator.lockstep import Lockstep
from simulator.senders import Senders, StepCosts, part_table, senders_of

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Roads:
    """Routes, and what their rows stand for.

    link, sink   int64[stop] of the program, or -1; tree its tree
    flits        int64[stop] of a message there, on a link
    core         int64[...] the cores in use, by their number among the servers
    """

    routes: Routes
    senders: Senders
    link: I64
    sink: I64
    tree: I64
    flits: I64
    core: I64


def roads_of(lockstep: Lockstep, costs: StepCosts) -> Roads:
    """Bug for links that wait for each other in a circle."""
    program = lockstep.program
    t = program.tables
    senders = senders_of(lockstep, costs)
    parent = parent_of_node(t)
    tree = tree_of_node(t, parent), tree_of_sink(t)
    used = np.isin(tree[0], senders.tree), np.isin(tree[1], senders.tree)
    server_of_link, order = _ranked(program, used[0], parent)
    cores = np.unique(np.concatenate([t.sink_core[used[1]].astype(np.int64), senders.core]))
    servers = np.concatenate(
        [server_of_link[t.node_link], order + np.searchsorted(cores, t.sink_core)]
    )
    n_stops, per = servers.size, np.zeros(t.tree_root.size, np.int64)
    full, last = per.copy(), per.copy()
    np.maximum.at(full, senders.tree, senders.values)
    last[senders.tree] = senders.values  # the last message of sums is the later row
    sizes = [full] if (full == last).all() else [full, last]
    made = (_stops(program, costs, tree, size, servers, lockstep.met.base) for size in sizes)
    tables, flits = zip(*made, strict=True)
    for copy, table in enumerate(tables):
        table[:, [hot.S_LINK, hot.S_LINK_END, hot.S_SINK, hot.S_SINK_END]] += copy * n_stops
    nodes, sinks = np.arange(t.node_link.size), np.arange(t.sink_core.size)
    none = np.full(nodes.size, -1), np.full(sinks.size, -1)
    way, reach, reached = _ways(program, costs, senders, tree, servers, n_stops, full)
    routes = Routes(
        part=part_table(senders, costs, cores),
        part_way=senders.begin,
        way=way,
        reach=reach,
        reached=reached,
        stop=np.concatenate(tables),
        n_links=order,
        n_cores=cores.size,
        send=costs.send,
        in_series=int(costs.in_series),
        synop=costs.synop,
        lanes=costs.lanes,
        met=lockstep.met.n,
    )
    return Roads(
        routes,
        senders,
        link=np.tile(np.concatenate([t.node_link.astype(np.int64), none[1]]), len(tables)),
        sink=np.tile(np.concatenate([none[0], sinks]), len(tables)),
        tree=np.tile(np.concatenate(tree), len(tables)),
        flits=np.concatenate(flits),
        core=cores,
    )


def _ranked(program: Program, used: NDArray[np.bool_], parent: I64) -> tuple[I64, int]:
    """Server of every link: those in use in an order in which none hands on to an earlier one."""
    link = program.tables.node_link.astype(np.int64)
    links = np.unique(link[used])
    number = np.searchsorted(links, link)
    below = np.flatnonzero(used & (parent >= 0))
    pairs = np.unique(number[parent[below]] * links.size + number[below])
    order, ranked = rank(pairs // max(1, links.size), pairs % max(1, links.size), links.size)
    if ranked < links.size:
        raise Bug("links that wait for each other in a circle", where=program.graph.model)
    server = np.full(program.tables.link_kind.size, -1, np.int64)
    server[links[order]] = np.arange(links.size)
    return server, links.size


def _stops(
    program: Program,
    costs: StepCosts,
    tree: tuple[I64, I64],
    values: I64,
    servers: I64,
    lists: I64,
) -> tuple[I64, I64]:
    """Of all nodes, then of all sinks: a row of Routes.stop, and flits on the link. values[tree]:
    of a message, 0 for spikes."""
    t, chip = program.tables, program.chip
    n_nodes = t.node_link.size
    table = np.zeros((servers.size, 8), np.int64)
    table[:, hot.S_SERVER] = servers
    table[n_nodes:, hot.S_ON] = lists
    kind = t.link_kind[t.node_link]
    width, flit_ps, hop_ps = (
        np.array([of(name) for name in LINKS], np.int64)[kind]
        for of in (
            lambda name: chip.links[name].flit_bits,
            lambda name: costs.held.get(name, 0) if name in costs.hop else 0,
            lambda name: costs.hop.get(name, 0),
        )
    )
    flits = -(-_bits(program, values)[tree[0]] // width)
    table[:n_nodes, hot.S_HELD] = flits * flit_ps
    table[:n_nodes, hot.S_ON] = hop_ps + (flits - 1) * flit_ps
    table[:n_nodes, hot.S_LINK], table[:n_nodes, hot.S_LINK_END] = (
        t.node_first_child, t.node_last_child
    )  # fmt: skip
    table[:n_nodes, hot.S_SINK] = n_nodes + t.node_first_sink.astype(np.int64)
    table[:n_nodes, hot.S_SINK_END] = n_nodes + t.node_last_sink.astype(np.int64)
    met, of = t.task_neuron_n[t.sink_task].astype(np.int64), t.task_kind[t.sink_task]
    met[lists != hot.NO_LIST] = 0
    spike = costs.receive + -(-met // costs.lanes) * costs.synop
    table[n_nodes:, hot.S_HELD] = np.where(of == TILE, spike, values[tree[1]] * costs.partial)
    table[n_nodes:][of == HOST, hot.S_HELD] = 0
    table[:, hot.S_LEAD] = _leads(program)
    return table, np.concatenate([flits, np.zeros(t.sink_core.size, np.int64)])


def _bits(program: Program, values: I64) -> I64:
    """Bits of a message, by tree."""
    t, formats = program.tables, program.chip.formats
    widths = np.array([program.partial_bits[lin.name] for lin in program.graph.linears], np.int64)
    spikes = np.array([program.codings[site.name][1] for site in program.graph.sites], np.int64)
    kind = np.full(t.tree_root.size, SPIKE)
    kind[t.emit_tree] = t.emit_class
    found = np.zeros(kind.size, np.int64)
    for code, each in (
        (SPIKE, spikes[t.task_site[t.tree_task]]),
        (PARTIAL, values * widths[t.task_linear[t.tree_task]]),
        (VALUE, values * formats["value"].payload_bits),
    ):
        found[kind == code] = formats[MESSAGES[code]].header_bits + each[kind == code]
    return found


def _leads(program: Program) -> I64:
    """A stop's first copy, counted from its parent's: sinks come before links."""
    t = program.tables
    first, last = t.node_first_sink.astype(np.int64), t.node_last_sink.astype(np.int64)
    parent, sinks = parent_of_node(t), last - first
    copies = _below(parent, sinks)
    before = np.cumsum(copies) - copies
    under = np.maximum(parent, 0)
    leads = sinks[under] + before - before[t.node_first_child[under]]
    own = np.arange(t.sink_core.size)
    for begin, end in ((first, last), (t.tree_first_local, t.tree_last_local)):
        held = ranges(begin, end)
        own[held] = held - np.repeat(begin.astype(np.int64), (end - begin).astype(np.int64))
    return np.concatenate([np.where(parent < 0, 0, leads), own])


def _below(parent: I64, sinks: I64) -> I64:
    """Sinks at every node and below it."""
    found = sinks.copy()
    at, depth = parent.copy(), np.zeros(parent.size, np.int64)
    while (at >= 0).any():
        depth += at >= 0
        at = np.where(at >= 0, parent[at], -1)
    for level in range(int(depth.max(initial=0)), 0, -1):
        here = np.flatnonzero(depth == level)
        np.add.at(found, parent[here], found[here])
    return found


def _ways(
    program: Program, costs: StepCosts, senders: Senders, tree: tuple[I64, I64], servers: I64,
    n_stops: int, full: I64,
) -> tuple[I64, I64, I64]:  # fmt: skip
    """Routes.way, reach and reached."""
    t, n_nodes = program.tables, program.tables.node_link.size
    root, shift = t.tree_root[senders.tree].astype(np.int64), np.zeros(senders.tree.size, np.int64)
    shift[senders.values != full[senders.tree]] = n_stops  # the shorter, last message of sums
    some = np.maximum(root, 0)
    skipped = root >= 0
    if n_nodes:
        kinds = np.array([name in costs.hop for name in LINKS])
        skipped &= ~kinds[t.link_kind[t.node_link[some]]]
    table = np.zeros((senders.tree.size, 7), np.int64)
    copies = np.bincount(tree[1], minlength=t.tree_root.size)
    table[:, hot.W_COPIES] = copies[senders.tree]
    local = t.tree_first_local.astype(np.int64), t.tree_last_local.astype(np.int64)
    table[:, hot.W_LOCAL], table[:, hot.W_LOCAL_END] = (
        n_nodes + of[senders.tree] + shift for of in local
    )
    whole = (root >= 0) & ~skipped
    table[whole, hot.W_LINK] = (root + shift)[whole]
    table[whole, hot.W_LINK_END] = (root + shift)[whole] + 1
    for columns, first, last, base in (
        ((hot.W_LINK, hot.W_LINK_END), t.node_first_child, t.node_last_child, 0),
        ((hot.W_SINK, hot.W_SINK_END), t.node_first_sink, t.node_last_sink, n_nodes),
    ):
        for column, of in zip(columns, (first, last), strict=True):
            at = root[skipped]
            table[skipped, column] = base + of[at] + shift[skipped]
    owner = np.concatenate(tree)
    left_out = np.zeros(owner.size, bool)
    left_out[root[skipped]] = True
    owner = np.where(left_out, t.tree_root.size, owner)
    by_tree = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner, minlength=t.tree_root.size + 1)
    begins = np.cumsum(sizes) - sizes
    first = begins[senders.tree]
    n = sizes[senders.tree]
    reached = servers[by_tree[ranges(first, first + n)]]
    return table, np.concatenate([[0], np.cumsum(n)]).astype(np.int64), reached

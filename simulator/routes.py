"""The ways of a program's messages over links and into cores, as simulator.hot.contention takes
them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from compiler.audit.trees import parent_of_node, tree_of_node, tree_of_sink
from compiler.program import HOST, PARTIAL, SPIKE, TILE, VALUE, Program
from hw_models.errors import Bug
from hw_models.events import LINKS, MESSAGES
from simulator.hot import contention as hot
from simulator.hot.contention import Routes
from simulator.lockstep import Lockstep
from simulator.noc import net_of
from simulator.senders import Senders, StepCosts, part_table, senders_of

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Roads:
    """Routes, and what their rows stand for.

    core     int64[...] the cores in use, by their number
    sink     int64[sink] that the numbered ones are, of the program
    links    int64[way] that a message crosses
    reached  int64[part, core] deliveries where a member fires, sparse
    """

    routes: Routes
    senders: Senders
    core: I64
    sink: I64
    links: I64
    reached: sparse.csr_array


def roads_of(lockstep: Lockstep, costs: StepCosts) -> Roads:
    """Bug for links that wait for each other in a circle."""
    program = lockstep.program
    t = program.tables
    senders = senders_of(lockstep, costs)
    net = net_of(program, stopping=True)
    if net is None:
        raise Bug("links that wait for each other in a circle", where=program.graph.model)
    cores = np.unique(np.concatenate([t.sink_core.astype(np.int64), senders.core]))
    order = np.argsort(t.sink_core, kind="stable")
    at, sink = _sinks(lockstep, costs, cores, order)
    wire = np.array(
        [[program.chip.links[kind].flit_bits, *_link_ps(costs, kind)] for kind in LINKS], np.int64
    )
    way, kind, flits = _ways(program, costs, senders, wire)
    routes = Routes(
        part=part_table(senders, costs, cores),
        part_way=senders.begin,
        way=way,
        kind=kind,
        flits=flits,
        wire=wire,
        net=net,
        at=at,
        sink=sink,
        met=lockstep.met.n,
        n_cores=cores.size,
        send=costs.send,
        in_series=int(costs.in_series),
        synop=costs.synop,
        lanes=costs.lanes,
    )
    links = np.bincount(tree_of_node(t, parent_of_node(t)), minlength=t.tree_root.size)
    reached = _reached(program, senders, cores)
    return Roads(routes, senders, cores, order, links[senders.tree], reached)


def _link_ps(costs: StepCosts, kind: str) -> tuple[int, int]:
    """ps that a flit holds a link, and until it is behind it; links without a hop take no time."""
    return (costs.held.get(kind, 0), costs.hop[kind]) if kind in costs.hop else (0, 0)


def _bits(program: Program, senders: Senders) -> I64:
    """int64[way] of a message."""
    t, formats = program.tables, program.chip.formats
    codes = np.full(t.tree_root.size, SPIKE)
    codes[t.emit_tree] = t.emit_class
    kind, task = codes[senders.tree], t.tree_task[senders.tree]
    widths = np.array([program.partial_bits[lin.name] for lin in program.graph.linears], np.int64)
    spikes = np.array([program.codings[site.name][1] for site in program.graph.sites], np.int64)
    bits = np.zeros(kind.size, np.int64)
    for code, each in (
        (SPIKE, spikes[t.task_site[task]]),
        (PARTIAL, senders.values * widths[t.task_linear[task]]),
        (VALUE, senders.values * formats["value"].payload_bits),
    ):
        bits[kind == code] = formats[MESSAGES[code]].header_bits + each[kind == code]
    return bits


def _ways(
    program: Program, costs: StepCosts, senders: Senders, wire: I64
) -> tuple[NDArray[np.int32], I64, I64]:
    """Routes.way, kind and flits."""
    t = program.tables
    root = t.tree_root[senders.tree]
    away = np.flatnonzero(root >= 0)
    link, first_sink, n_sinks = (np.zeros(root.size, np.int64) for _ in range(3))
    link[away] = t.node_link[root[away]]
    first_sink[away] = t.node_first_sink[root[away]]
    n_sinks[away] = t.node_last_sink[root[away]] - first_sink[away]
    # messages that are as long, over first links that are alike, are of one kind
    about = _bits(program, senders), np.maximum(t.link_kind[link], 0), senders.values
    (bits, first, values), kind = np.unique(np.stack(about), axis=1, return_inverse=True)
    flits = -(-bits // wire[:, :1])
    sent, (held, hop) = flits[first, np.arange(first.size)], wire[first, 1:].T
    costly = sent * held, hop + (sent - 1) * held, sent, values * costs.partial
    local = t.tree_last_local[senders.tree] - t.tree_first_local[senders.tree]
    way = np.stack([
        np.where(root >= 0, senders.tree, -1),
        link,
        np.where(n_sinks > 0, first_sink, -1),
        np.where(local > 0, t.tree_first_local[senders.tree], -1),
        kind.ravel(),
    ], axis=1)  # fmt: skip
    alike = (flits == flits[:, :1]).all()
    return (
        way.astype(np.int32),
        np.stack(costly, axis=1),
        np.ascontiguousarray(flits[:, :1] if alike else flits),
    )


def _sinks(
    lockstep: Lockstep, costs: StepCosts, cores: I64, order: I64
) -> tuple[NDArray[np.int32], I64]:
    """Routes.at and sink."""
    t, lists = lockstep.program.tables, lockstep.met.base
    kind = t.task_kind[t.sink_task]
    neurons = np.where(lists != hot.NO_LIST, 0, t.task_neuron_n[t.sink_task].astype(np.int64))
    spike = costs.receive + -(-neurons // costs.lanes) * costs.synop
    sink = np.empty((kind.size, 2), np.int64)
    sink[:, hot.K_HELD] = np.where(kind == TILE, spike, hot.AS_LONG)
    sink[kind == HOST, hot.K_HELD] = 0
    sink[:, hot.K_LIST] = lists
    at = np.empty((kind.size, 2), np.int32)
    at[:, 0] = np.searchsorted(cores, t.sink_core) << 1
    at[order, 1] = np.arange(kind.size)
    for first, last in (
        (t.node_first_sink, t.node_last_sink),
        (t.tree_first_local, t.tree_last_local),
    ):
        at[last[first < last] - 1, 0] |= 1
    return at, sink[order]


def _reached(program: Program, senders: Senders, cores: I64) -> sparse.csr_array:
    """[part, core]: deliveries of a member that fires."""
    t = program.tables
    tree, shape = tree_of_sink(t), (t.tree_root.size, cores.size)
    core = np.searchsorted(cores, t.sink_core)
    per_tree = sparse.csr_array((np.ones(tree.size, np.int64), (tree, core)), shape=shape)
    part = np.repeat(np.arange(senders.n.size), np.diff(senders.begin))
    sent = sparse.csr_array(
        (np.ones(part.size, np.int64), (part, senders.tree)), shape=(senders.n.size, shape[0])
    )
    return sent @ per_tree

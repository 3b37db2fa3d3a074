"""Multicast trees along the routes of the mesh (hw_models.mesh), and proof that they are right.

Every net becomes one tree: flat arrays of nodes in breadth-first order. A node is a router, entered
over one link. What each router's table must hold for them is the next pass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.deadlock import circle
from compiler.audit.trees import ranges
from compiler.hot.trees import grow
from compiler.passes.pack import Packing
from compiler.passes.place import Placement
from compiler.tasks import Dataflow
from hw_models.errors import Bug
from hw_models.events import LINKS
from hw_models.mesh import EAST, NORTH, SOUTH, WEST, Mesh

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees, one per net of the dataflow, in the nets' order.

    root[tree] first node (or -1: every sink shares the source's core); a tree's nodes and sinks
    are contiguous, in the order of the trees
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


@dataclass(frozen=True, slots=True)
class Sinks:
    """Every net's sinks, net after net: first[net] .. first[net + 1] are the tasks `task`."""

    first: I64
    task: I64

    @property
    def net(self) -> I64:
        """Net of every sink."""
        return np.repeat(np.arange(self.first.size - 1), np.diff(self.first))


def sinks_of(flow: Dataflow) -> Sinks:
    sizes = np.fromiter((len(net.sinks) for net in flow.nets), np.int64, len(flow.nets))
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    every = (sink for net in flow.nets for sink in net.sinks)
    return Sinks(first, np.fromiter(every, np.int64, int(first[-1])))


def core_of_task(flow: Dataflow, packing: Packing, placement: Placement) -> I64:
    """Physical core of every task; the host's number for tasks on the host."""
    cores = np.full(len(flow.tasks), placement.mesh.host, np.int64)
    for unit, logical in zip(flow.units, packing.core_of, strict=True):
        if logical >= 0:
            cores[list(unit.tasks)] = placement.physical[logical]
    return cores


def _sink_base(flow: Dataflow, sinks: Sinks) -> I64:
    """What turns a net's channel or neuron number into the sink's own row or neuron."""
    kind = np.array([net.message for net in flow.nets])[sinks.net]
    row = np.array([t.tile.pre if t.tile else 0 for t in flow.tasks], np.int64)[sinks.task]
    neuron = np.array([t.neurons[0] if t.neurons else 0 for t in flow.tasks], np.int64)
    return np.select([kind == "spike", kind == "partial"], [-row, -neuron[sinks.task]], 0)


def route(flow: Dataflow, packing: Packing, placement: Placement) -> Trees:
    """One tree per net."""
    mesh = placement.mesh
    cores = core_of_task(flow, packing, placement)
    sinks = sinks_of(flow)
    source = cores[np.fromiter((net.source for net in flow.nets), np.int64, len(flow.nets))]
    goal = cores[sinks.task]
    # a core's spikes to itself go out and come back: the axon table is behind the network
    quiet = np.array([net.message != "spike" for net in flow.nets], bool)[sinks.net]
    order, tree, node = grow(
        sinks.first,
        np.where(goal == mesh.host, -1, mesh.routers_of(goal)),
        quiet & (goal == source[sinks.net]),
        mesh.routers_of(source),
        np.where(source == mesh.host, mesh.host_in, source),
        mesh.host_out,
        _constants(mesh),
    )
    columns = (
        *(tree[:, 0], source, tree[:, 1], tree[:, 2]),
        *node.T,
        *(goal[order], sinks.task[order], _sink_base(flow, sinks)[order]),
    )
    return Trees(*(np.ascontiguousarray(c, np.int32) for c in columns))


def _constants(mesh: Mesh) -> I64:
    """As compiler.hot.trees.next_hop takes them."""
    sizes = (mesh.width, mesh.chip_w, mesh.chip_h, mesh.chips_w)
    return np.array([*sizes, mesh.first_mesh_link, mesh.first_chip_link], np.int64)


def tree_of_node(trees: Trees) -> I64:
    """Trees' nodes lie one tree after another."""
    rooted = np.flatnonzero(trees.root >= 0)
    ends = np.append(trees.root[rooted[1:]], trees.link.size) if rooted.size else rooted
    return np.repeat(rooted, ends - trees.root[rooted])


def parent_of_node(trees: Trees) -> I64:
    """Node above every node; -1 for a root."""
    parent = np.full(trees.link.size, -1, np.int64)
    sizes = trees.last_child - trees.first_child
    held = np.repeat(np.arange(sizes.size), sizes)
    parent[ranges(trees.first_child, trees.last_child)] = held
    return parent


def verify(trees: Trees, flow: Dataflow, packing: Packing, placement: Placement) -> None:
    """Replay every tree by the geometry of its links; each net reaches exactly its sinks."""
    mesh, links = placement.mesh, placement.mesh.links
    cores = core_of_task(flow, packing, placement)
    source = cores[[net.source for net in flow.nets]]
    tree, parent = tree_of_node(trees), parent_of_node(trees)
    if (trees.source != source).any():
        net = int(np.flatnonzero(trees.source != source)[0])
        raise Bug(f"net {net} does not begin at core {source[net]}", where="route")
    # every link begins where the one before it ends
    begins = np.where(
        parent < 0, mesh.n_routers + source[tree], links.end[trees.link[np.maximum(parent, 0)]]
    )
    _hold(links.kind[trees.link] >= 0, tree, "uses a link that does not exist")
    _hold(links.begin[trees.link] == begins, tree, "jumps")
    _hold((parent >= 0) | (trees.root[tree] == np.arange(tree.size)), tree, "has two roots")
    _hold(parent < np.arange(tree.size), tree, "comes back to a node")
    _check_turns(trees, tree, parent, mesh)
    _check_ends(trees, tree, flow, cores, mesh)


def _hold(rule: NDArray[np.bool_], tree: I64, what: str) -> None:
    if not rule.all():
        raise Bug(f"net {int(tree[np.flatnonzero(~rule)[0]])} {what}", where="route")


def _check_turns(trees: Trees, tree: I64, parent: I64, mesh: Mesh) -> None:
    """x before y on a chip, and between chips; never back."""
    kind = mesh.links.kind[trees.link]
    side = (trees.link - mesh.first_mesh_link) % 4  # chip links follow in the same order
    along_y = np.isin(side, (NORTH, SOUTH))
    above = np.maximum(parent, 0)
    moving = (kind > LINKS.index("local")) & (kind < LINKS.index("host"))
    between = kind >= LINKS.index("chip_x")
    turning = (parent >= 0) & moving & moving[above] & (between[above] == between)
    _hold(~(turning & along_y[above] & ~along_y), tree, "turns from y to x")
    opposite = np.array([WEST, EAST, SOUTH, NORTH])
    _hold(~(turning & (side == opposite[side[above]])), tree, "turns back")


def _check_ends(trees: Trees, tree: I64, flow: Dataflow, cores: I64, mesh: Mesh) -> None:
    """Sinks hang where their links end, and are the net's own with the right base."""
    local = ranges(trees.first_local, trees.last_local)
    remote = ranges(trees.first_sink, trees.last_sink)
    if not np.array_equal(np.sort(np.append(local, remote)), np.arange(trees.sink_core.size)):
        raise Bug("a sink below two nodes, or below none", where="route")
    net = np.empty(trees.sink_core.size, np.int64)
    net[local] = np.repeat(np.arange(trees.root.size), trees.last_local - trees.first_local)
    net[remote] = np.repeat(tree, trees.last_sink - trees.first_sink)
    node = np.repeat(np.arange(tree.size), trees.last_sink - trees.first_sink)
    core = trees.sink_core.astype(np.int64)
    _hold(core == cores[trees.sink_task], net, "has a sink on another core than its task")
    _hold(core[local] == trees.source[net[local]], net[local], "has a local sink elsewhere")
    place = np.where(core == mesh.host, mesh.n_routers + mesh.host, mesh.routers_of(core))
    behind = mesh.links.end[trees.link[node]]
    _hold(place[remote] == behind, net[remote], "leaves at a router that is not its sink's")
    _check_meant(trees, net, flow)


def _check_meant(trees: Trees, net: I64, flow: Dataflow) -> None:
    """Every net has the sinks that it was given, each with its own first row or neuron."""
    row = np.array([t.tile.pre if t.tile else 0 for t in flow.tasks], np.int64)
    neuron = np.array([t.neurons[0] if t.neurons else 0 for t in flow.tasks], np.int64)
    shift = {"spike": -row, "partial": -neuron, "value": np.zeros_like(row)}
    meant = np.array(
        [(i, sink) for i, own in enumerate(flow.nets) for sink in own.sinks], np.int64
    ).reshape(-1, 2)
    order = np.lexsort((trees.sink_task, net))
    found = np.stack([net, trees.sink_task], axis=1)[order]
    if not np.array_equal(found, meant[np.lexsort(meant.T[::-1])]):
        raise Bug("nets do not reach the sinks that they are meant for", where="route")
    kind = np.array([own.message for own in flow.nets])[found[:, 0]]
    base = trees.sink_base[order]
    for name, own_shift in shift.items():
        wrong = np.flatnonzero((kind == name) & (base != own_shift[found[:, 1]]))
        if wrong.size:
            raise Bug(f"net {found[wrong[0], 0]} shifts its {name} wrongly", where="route")


def verify_deadlock_free(trees: Trees) -> None:
    """A message holds a link while it waits for the next ones: that relation has no cycle."""
    links = circle(trees.link, parent_of_node(trees))
    if links:
        raise Bug(f"links {links} wait for each other", where="route")

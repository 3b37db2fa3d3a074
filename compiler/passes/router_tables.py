"""What every router holds: entries (key, mask -> ports) that steer each tree's messages.

Every tree has a key. Where a message goes straight on, its router needs no entry. A router whose
table would still be too long has neighbouring keys with the same ports merged into one entry.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.replay import CORE_PORT, HOST_PORT, Entries, replay
from compiler.audit.trees import ranges
from compiler.passes.route import Trees, parent_of_node, tree_of_node
from compiler.tasks import Dataflow
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit
from hw_models.mesh import Mesh

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RouterTables:
    """key[tree]; entries sorted by (router, key). longest: before merging, and now."""

    key: I64
    entries: Entries
    longest: tuple[int, int]


def router_tables(trees: Trees, flow: Dataflow, mesh: Mesh, chip: Chip) -> RouterTables:
    """Tables of all routers. Raises DoesNotFit, naming the router and what fills its table."""
    limit = chip.core.table_entries
    key = _keys(trees)
    tree = tree_of_node(trees)
    router, ports, straight = _switching(trees, mesh)
    here = router >= 0  # all but the leaf behind the link to the host
    order = np.lexsort([key[tree], np.where(here, router, mesh.n_routers)])[: int(here.sum())]
    router, ports, straight = router[order], ports[order], straight[order]
    node_key = key[tree[order]]
    kept = ~straight
    used = np.bincount(router[kept], minlength=mesh.n_routers)
    bits = max(1, int(key.max(initial=0)).bit_length())
    full = (1 << bits) - 1
    pieces = [np.stack([router[kept], node_key[kept], np.full(int(kept.sum()), full), ports[kept]])]
    crowded = np.flatnonzero(used > limit)
    if crowded.size:
        pieces[0] = pieces[0][:, ~np.isin(pieces[0][0], crowded)]
    for number in crowded.tolist():
        lo, hi = np.searchsorted(router, [number, number + 1])
        found = list(_merged(node_key[lo:hi], np.where(straight[lo:hi], -1, ports[lo:hi]), bits))
        if len(found) > limit:
            raise _too_long(
                number, len(found), limit, flow, tree[order][lo:hi][~straight[lo:hi]], mesh
            )
        pieces.append(np.array([(number, *entry) for entry in found], np.int64).T)
    rows = np.concatenate(pieces, axis=1)
    rows = rows[:, np.lexsort([rows[1], rows[0]])]
    now = np.bincount(rows[0], minlength=mesh.n_routers)
    longest = (int(used.max(initial=0)), int(now.max(initial=0)))
    return RouterTables(key, Entries(*(np.ascontiguousarray(row) for row in rows)), longest)


def _keys(trees: Trees) -> I64:
    """Trees with equal destinations get neighbouring keys: a router sends them the same way."""
    first = np.where(trees.first_local < trees.last_local, trees.first_local, _first_sink(trees))
    order = np.lexsort([trees.source, trees.sink_core[first]])
    key = np.empty(order.size, np.int64)
    key[order] = np.arange(order.size)
    return key


def _first_sink(trees: Trees) -> I64:
    """A tree's sinks lie behind its local ones."""
    return np.minimum(trees.last_local, trees.sink_core.size - 1).astype(np.int64)


def _switching(trees: Trees, mesh: Mesh) -> tuple[I64, I64, NDArray[np.bool_]]:
    """By node: its router (-1: the host), the ports a message leaves by, if it goes straight."""
    link, parent = trees.link.astype(np.int64), parent_of_node(trees)
    port = np.full(link.size, -1, np.int64)
    on_mesh = (link >= mesh.first_mesh_link) & (link < mesh.first_chip_link)
    between = (link >= mesh.first_chip_link) & (link < mesh.host_out)
    port[on_mesh] = (link[on_mesh] - mesh.first_mesh_link) % 4
    port[between] = 4 + (link[between] - mesh.first_chip_link) % 4
    port[link == mesh.host_out] = HOST_PORT
    ports = np.zeros(link.size, np.int64)
    below = parent >= 0
    np.bitwise_or.at(ports, parent[below], 1 << port[below])
    n_sinks = (trees.last_sink - trees.first_sink).astype(np.int64)
    node = np.repeat(np.arange(link.size), n_sinks)
    core = trees.sink_core[ranges(trees.first_sink, trees.last_sink)].astype(np.int64)
    at_core = core != mesh.host
    which = CORE_PORT + core[at_core] % mesh.cores_per_router
    np.bitwise_or.at(ports, node[at_core], 1 << which)
    router = np.where(link == mesh.host_out, -1, mesh.links.end[link])
    straight = (port >= 0) & (port < HOST_PORT) & (ports == 1 << np.maximum(port, 0))
    return router, ports, straight


def _merged(keys: I64, ports: I64, bits: int) -> Iterator[tuple[int, int, int]]:
    """(key, mask, ports): largest aligned ranges whose keys here all have the same ports.

    Keys that never come to this router may fall into any range; those that go straight (ports -1)
    into none.
    """
    todo = [(0, keys.size, 0, bits)]
    while todo:
        lo, hi, base, width = todo.pop()
        if lo == hi or (ports[lo:hi] == -1).all():
            continue
        if (ports[lo:hi] == ports[lo]).all():
            yield base, ((1 << bits) - 1) & ~((1 << width) - 1), int(ports[lo])
            continue
        half = base + (1 << (width - 1))
        middle = lo + int(np.searchsorted(keys[lo:hi], half))
        todo += [(lo, middle, base, width - 1), (middle, hi, half, width - 1)]


def _too_long(
    router: int, entries: int, limit: int, flow: Dataflow, trees: I64, mesh: Mesh
) -> DoesNotFit:
    ops = Counter(flow.tasks[flow.nets[tree].source].op for tree in trees.tolist())
    most = ", ".join(f"{op} ({n})" for op, n in ops.most_common(3))
    y, x = divmod(router, mesh.width)
    return DoesNotFit(
        f"{entries} entries needed after merging, the router's table has {limit}; most are of "
        f"{most}",
        where=f"router ({x}, {y})",
        fix=f"--set core.table_entries={entries}, or a target with larger tables",
    )


def verify(tables: RouterTables, trees: Trees, mesh: Mesh, chip: Chip) -> None:
    """Replay every key: it reaches exactly the cores of its tree's sinks; no table is too long."""
    per_router = np.bincount(tables.entries.router, minlength=1)
    if per_router.max() > chip.core.table_entries:
        raise Bug(f"a table of {per_router.max()} entries", where="router tables")
    sent = np.flatnonzero(trees.root >= 0)
    if np.unique(tables.key).size != tables.key.size:
        raise Bug("two trees with one key", where="router tables")
    source = trees.source[sent].astype(np.int64)
    found = replay(tables.entries, tables.key[sent], source, mesh)
    for what, which in (("is dropped", found.dropped), ("goes round", found.looping)):
        if which.size:
            raise Bug(f"the key of net {sent[which[0]]} {what}", where="router tables")
    remote = np.ones(trees.sink_core.size, bool)
    sizes = (trees.last_local - trees.first_local).astype(np.int64)
    ends = np.cumsum(sizes)
    remote[np.arange(int(sizes.sum())) + np.repeat(trees.first_local - (ends - sizes), sizes)] = (
        False
    )
    n_sinks = (trees.last_sink - trees.first_sink).astype(np.int64)
    owner = np.empty(trees.sink_core.size, np.int64)
    owner[remote] = np.repeat(tree_of_node(trees), n_sinks)
    pairs = np.unique(np.stack([owner[remote], trees.sink_core[remote]]), axis=1)
    if not (np.array_equal(sent[found.tree], pairs[0]) and np.array_equal(found.core, pairs[1])):
        raise Bug("a key reaches other cores than its tree's", where="router tables")

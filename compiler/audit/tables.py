"""What must hold of a program's tables before the event engine may read them.

The engine sees bare arrays: an index out of range would read another task's memory, and a
tree that bites its own tail would never end. Hashes say that a file is as it was written,
not that it was written by our compiler; so every range and reference is checked here once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.audit.arrivals import arrivals
from compiler.audit.experts import check_experts, resends
from compiler.audit.trees import AGAIN, node_of_sink, parent_of_node, tree_of_node, tree_of_sink
from compiler.conditions import condition_of, conditions
from compiler.graph import feeds, reads
from compiler.program import HOST, I32, PARTIAL, SPIKE, TILE, VALUE, VECTOR, Program, Tables
from hw_models.errors import BadInput
from hw_models.events import KINDS

I64 = NDArray[np.int64]

GROUP = 128


def check_tables(program: Program) -> None:
    """Raises BadInput that names table, row and task."""
    with _placed("tables"):
        _check_lengths(program)
        _check_tasks(program)
        _check_roles(program)
        _check_emits(program)
        check_experts(program)
        above = _check_trees(program)
        _check_sinks(program, above.sink_tree)
        _check_ways(program, above)
        _check_work(program)


def _check_lengths(program: Program) -> None:
    """Columns of one table (task, emit, tree, node, sink, work) have as many rows."""
    t, rows = program.tables, {"task": len(program.task_names)}
    for name in Tables.__slots__:
        table, size = name.partition("_")[0], getattr(t, name).size - (name == "task_emit")
        if rows.setdefault(table, size) != size:
            raise BadInput(f"{size} of {rows[table]} rows", where=name, fix=AGAIN)


@contextmanager
def _placed(where: str) -> Iterator[None]:
    """Columns of unequal length are broken tables too."""
    try:
        yield
    except (IndexError, ValueError) as error:
        raise BadInput(f"columns do not belong together: {error}", where=where, fix=AGAIN) from None


def _hold(rule: ArrayLike, what: str, names: tuple[str, ...], owner: ArrayLike) -> None:
    """Every row keeps a rule; owner[row] is the task to name."""
    broken = np.flatnonzero(~np.asarray(rule, bool))
    if broken.size:
        row = int(broken[0])
        task = int(np.broadcast_to(np.asarray(owner), np.shape(rule))[row])
        name = names[task] if 0 <= task < len(names) else f"task {task}"
        raise BadInput(f"{what}, row {row}", where=name, fix=AGAIN)


def _inside(
    values: NDArray[np.integer], end: int | NDArray[np.integer], start: int = 0
) -> NDArray[np.bool_]:
    return (start <= values) & (values < end)


def _check_tasks(program: Program) -> None:
    t, names, graph = program.tables, program.task_names, program.graph
    every = np.arange(t.task_core.size)
    if not {"host.embed", "host.logits"} <= set(names):
        raise BadInput("no task of the host", where="tables", fix=AGAIN)
    post = np.array([lin.n_post for lin in graph.linears], np.int64)
    pre = np.array([lin.n_pre for lin in graph.linears], np.int64)
    width = np.array([s.n for s in graph.sites], np.int64)
    tile, has_sums = t.task_kind == TILE, t.task_neuron_n > 0
    _hold(np.isin(t.task_kind, (TILE, VECTOR, HOST)), "unknown kind of task", names, every)
    _hold((t.task_kind == HOST) == (t.task_core == program.host_core), "host", names, every)
    _hold(t.task_core >= 0, "a core below 0", names, every)
    _hold(_inside(t.task_op, len(program.ops)), "unknown operation", names, every)
    _hold(_inside(t.task_gathers, len(graph.stages), -1), "unknown stage", names, every)
    _hold(_inside(t.task_linear, post.size, -1), "unknown linear", names, every)
    _hold(_inside(t.task_site, width.size, -1), "unknown site", names, every)
    _hold((t.task_linear >= 0) >= (tile | has_sums), "sums without a linear", names, every)
    _hold(t.task_period >= 1, "a period below 1", names, every)
    runs, number = condition_of(graph), {c: i for i, c in enumerate(conditions(graph))}
    own = np.array([number.get(runs.get(name) or ("", 0), -1) for name in program.ops])
    _hold(t.task_condition == own[t.task_op], "under another condition", names, every)
    wanted = np.stack([t.task_need, t.task_extra, t.task_window, t.task_ps, t.task_ring_ps])
    _hold((wanted >= 0).all(0), "a negative need, window or time", names, every)
    _hold(
        (t.task_neuron_lo >= 0) & (t.task_neuron_n >= tile)
        & (t.task_neuron_lo + t.task_neuron_n <= np.where(has_sums, post[t.task_linear], 0)),
        "neurons beyond the linear", names, every,
    )  # fmt: skip
    _hold(
        ~tile
        | (t.task_pre >= 0) & (t.task_n_pre >= 1) & (t.task_pre % GROUP == 0)
        & (t.task_pre + t.task_n_pre <= pre[t.task_linear]),
        "axons beyond the linear, or off a group border", names, every,
    )  # fmt: skip
    listed = np.array([*(lin.listed is not None for lin in graph.linears), False])[t.task_linear]
    area = np.where(tile, t.task_n_pre * t.task_neuron_n.astype(np.int64), 0)
    axons = np.where(tile, t.task_n_pre, 0)
    rule = (tile <= _inside(t.task_axons, axons + 1, 1)) & _inside(t.task_synapses, area + 1)
    rule &= listed & tile | (t.task_axons == axons) & (t.task_synapses == area)
    _hold(rule, "another number of axons or synapses", names, every)
    encodes = t.task_channel_n > 0
    _hold(encodes == (t.task_site >= 0), "channels without a site", names, every)
    _hold(~encodes | (t.task_gathers < 0), "spikes before its stage is computed", names, every)
    _hold(
        (t.task_channel_lo >= 0) & (t.task_channel_n >= 0)
        & (t.task_channel_lo + t.task_channel_n <= np.where(encodes, width[t.task_site], 0)),
        "channels beyond the site", names, every,
    )  # fmt: skip


def _check_roles(program: Program) -> None:
    """A task works for its own operation; together, tasks do each operation once and wholly."""
    t, names, graph = program.tables, program.task_names, program.graph
    every, tile = np.arange(len(names)), t.task_kind == TILE
    stages = {stage.name: i for i, stage in enumerate(graph.stages)}
    linears = {lin.name: i for i, lin in enumerate(graph.linears)}
    sites = {site.name: i for i, site in enumerate(graph.sites)}
    stage = np.array([stages.get(name, -1) for name in program.ops])[t.task_op]
    own_linear = np.array([linears.get(name, -1) for name in program.ops])[t.task_op]
    main = np.array([linears.get(str(s.linear), -1) for s in graph.stages])
    fed_by = {name: i for i, s in enumerate(graph.stages) for name in feeds(s)}
    feeder = np.array([fed_by[name] for name in sites])
    gathers, encodes = t.task_gathers >= 0, t.task_site >= 0
    has_sums = ~tile & (t.task_neuron_n > 0)
    _hold(~gathers | (t.task_gathers == stage), "gathers for another stage", names, every)
    _hold(~tile | (t.task_linear == own_linear), "a tile of another linear", names, every)
    adds_up = has_sums & ~gathers  # for a home elsewhere
    wanted = np.where(adds_up, own_linear, main[stage])
    _hold(~has_sums | (t.task_linear == wanted), "sums of another linear", names, every)
    encoded = np.where(encodes, feeder[t.task_site], stage)
    _hold(encoded == stage, "encodes another site", names, every)
    if set(t.task_gathers[gathers].tolist()) != set(stages.values()):
        raise BadInput("a stage that no task gathers", where="task_gathers", fix=AGAIN)
    homes = _grouped(np.where(has_sums & gathers, stage, -1), len(stages))
    blocks = _grouped(np.where(tile, t.task_linear, -1), len(linears))
    reader = {name: i for i, s in enumerate(graph.stages) for name in reads(s)}
    for linear, mine in zip(graph.linears, blocks, strict=True):
        own = homes[reader[linear.name]]
        _cover(linear.name, t.task_neuron_lo[own], t.task_neuron_n[own], linear.n_post)
        stored = t.task_n_pre[mine].astype(np.int64) * t.task_neuron_n[mine]
        if stored.sum() != linear.n_pre * linear.n_post:
            raise BadInput(f"{stored.sum()} pairs in tiles", where=linear.name, fix=AGAIN)
        if t.task_synapses[mine].sum() != linear.synapses:
            what = f"{t.task_synapses[mine].sum()} synapses in tiles"
            raise BadInput(what, where=linear.name, fix=AGAIN)
    encoders = _grouped(np.where(resends(t), -1, t.task_site), len(sites))
    for site, mine in zip(graph.sites, encoders, strict=True):
        _cover(site.name, t.task_channel_lo[mine], t.task_channel_n[mine], site.n)


def _grouped(key: I64, n: int) -> list[I64]:
    """Tasks by their key, 0 .. n - 1."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.searchsorted(key[order], np.arange(n + 1)))[1:-1]


def _cover(where: str, first: I32, n: I32, total: int) -> None:
    """Ranges, in any order, hold 0 .. total - 1 once each."""
    order = np.argsort(first)
    ends = np.cumsum(n[order])
    if (first[order] != ends - n[order]).any() or n.sum() != total:
        raise BadInput("gaps or overlaps between tasks", where=where, fix=AGAIN)


def _check_emits(program: Program) -> None:
    """What a task sends is its own: channels it encodes, neurons it holds, one tree each."""
    t, names = program.tables, program.task_names
    first, n_emits = t.task_emit, t.emit_tree.size
    if first[0] != 0 or first[-1] != n_emits or (np.diff(first) < 0).any():
        raise BadInput("emissions without a task", where="task_emit", fix=AGAIN)
    task = np.repeat(np.arange(len(names)), np.diff(first))
    lo, end = t.emit_lo, t.emit_lo + t.emit_n
    once = np.bincount(t.emit_tree, minlength=t.tree_root.size) == 1
    if not _inside(t.emit_tree, t.tree_root.size).all() or not once.all():
        raise BadInput("a tree without its net", where="emit_tree", fix=AGAIN)
    own = {
        SPIKE: (t.task_channel_lo, t.task_channel_n),
        PARTIAL: (t.task_neuron_lo, t.task_neuron_n),
    }
    _hold(np.isin(t.emit_class, (*own, VALUE)), "unknown class of message", names, task)
    _hold((t.emit_n >= 1) & (lo >= 0), "an empty net", names, task)
    for code, (start, n) in own.items():
        mine = t.emit_class != code
        mine |= (start[task] <= lo) & (end <= start[task] + n[task])
        _hold(mine, "sends what it does not hold", names, task)
    has_sums = (t.task_kind == TILE) | (t.task_neuron_n > 0) & (t.task_gathers < 0)
    _hold(has_sums[task] == (t.emit_class == PARTIAL), "sends no sums of its own", names, task)
    _hold(t.tree_task[t.emit_tree] == task, "a tree of another task", names, task)
    _hold(t.tree_source == t.task_core[t.tree_task], "a tree from elsewhere", names, t.tree_task)


@dataclass(frozen=True, slots=True)
class _Above:
    """Who is above a node or a sink: parent (a node, or -1 for a root) and tree of every node;
    node (or -1 for a sink on the tree's own core) and tree of every sink."""

    parent: I64
    tree: I64
    sink_node: I64
    sink_tree: I64


def _check_trees(program: Program) -> _Above:
    """Every node and sink hangs below one parent that comes before it, so a walk ends."""
    t, names = program.tables, program.task_names
    _hold(_inside(t.tree_root, t.node_link.size, -1), "unknown root", names, t.tree_task)
    parent = parent_of_node(t)
    return _Above(parent, tree_of_node(t, parent), node_of_sink(t), tree_of_sink(t))


def _check_ways(program: Program, above: _Above) -> None:
    """Every link of a tree begins where the one before it ends, the last at its sinks' router."""
    t, names, mesh = program.tables, program.task_names, program.mesh
    begin, end, kind = mesh.links.begin, mesh.links.end, mesh.links.kind
    if t.link_kind.size != kind.size:
        raise BadInput(f"{t.link_kind.size} links of {kind.size}", where="link_kind", fix=AGAIN)
    link, owner = t.node_link, t.tree_task[above.tree]
    _hold(_inside(link, kind.size), "unknown link", names, owner)
    same = (t.link_kind[link] == kind[link]) & (kind[link] >= 0)
    _hold(same, "a link of another kind", names, owner)
    source = mesh.n_routers + t.tree_source[above.tree]
    ahead = np.where(above.parent < 0, source, end[link[above.parent]])
    _hold(begin[link] == ahead, "a tree that jumps", names, owner)
    router = t.sink_core // mesh.cores_per_router
    router = np.where(t.sink_core == program.host_core, mesh.n_routers + mesh.host, router)
    arrives = np.where(
        above.sink_node < 0,
        t.sink_core == t.tree_source[above.sink_tree],
        router == end[link[above.sink_node]],
    )
    _hold(arrives, "a sink elsewhere", names, t.tree_task[above.sink_tree])


def _check_sinks(program: Program, owner: I64) -> None:
    """A message meets its sink at the axon or neuron that the sink's own range says."""
    t, names = program.tables, program.task_names
    carries = np.zeros((t.tree_root.size, 3), np.int64)  # class, units, residue
    carries[t.emit_tree] = np.stack([t.emit_class, t.emit_n, t.emit_residue], axis=1)
    kind, n, residue = carries[owner].T
    task = t.sink_task
    _hold(_inside(task, len(names)), "unknown sink", names, t.tree_task[owner])
    graph, tile, host = program.graph, t.task_kind[task] == TILE, t.task_kind[task] == HOST
    goes = (kind == SPIKE) & (tile | host) | (kind != SPIKE) & ~tile
    _hold(goes, "spikes go to tiles or the host, all else to vector tasks", names, task)
    base = np.where(kind == SPIKE, -t.task_pre[task], -t.task_neuron_lo[task])
    _hold(t.sink_base == np.where(kind == VALUE, 0, base), "a shifted sink", names, task)

    def arriving(units: NDArray[np.integer]) -> I64:
        found = np.zeros(len(names), np.int64)
        np.add.at(found, task, units)
        return found

    every = np.arange(len(names))
    units = np.where(kind == SPIKE, 1, n)
    for awaited, which in ((t.task_need, residue < 0), (t.task_extra, residue >= 0)):
        due = arrivals(t, program.graph, owner, units, which)
        for wrong in (*task[due.stray].tolist(), *due.uneven.tolist()):
            raise BadInput("awaits other experts than it is sent", where=names[wrong], fix=AGAIN)
        _hold(awaited == due.units, "awaits another number than it is sent", names, every)
    sites = {site.name: i for i, site in enumerate(graph.sites)}
    readers = {name: i for i, stage in enumerate(graph.stages) for name in reads(stage)}
    site_of = np.array([sites[linear.site] for linear in graph.linears])
    reader = np.array([readers[linear.name] for linear in graph.linears])
    source = t.tree_task[owner]
    drives = (t.task_site[source] == site_of[t.task_linear[task]]) | ~tile
    _hold(drives, "spikes of another site", names, task)
    home = reader[t.task_linear[source]] == t.task_gathers[task]
    adds_up = (t.task_gathers[task] < 0) & (t.task_linear[task] == t.task_linear[source])
    _hold(home | adds_up | (kind != PARTIAL), "sums of another linear", names, task)
    axons = np.where(t.task_kind == TILE, t.task_axons, 0)
    driven = arriving(np.where((kind == SPIKE) & tile, n, 0))
    _hold(axons == driven, "axons that no channel drives", names, every)


def _check_work(program: Program) -> None:
    t, names = program.tables, program.task_names
    _hold(_inside(t.work_task, len(names)), "work of no task", names, t.work_task)
    _hold(_inside(t.work_kind, len(KINDS)), "unknown kind of work", names, t.work_task)
    _hold(t.work_count >= 0, "negative work", names, t.work_task)

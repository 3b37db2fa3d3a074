"""What must hold of a program's tables before the event engine may read them.

The engine sees bare arrays: an index out of range would read another task's memory, and a
tree that bites its own tail would never end. Hashes say that a file is as it was written,
not that it was written by our compiler; so every range and reference is checked here once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.program import HOST, PARTIAL, SPIKE, TILE, VALUE, VECTOR, Program
from hw_models.errors import BadInput
from hw_models.events import KINDS, LINKS

GROUP = 128
AGAIN = "compile it again"


def check_tables(program: Program) -> None:
    """Raises BadInput that names table, row and task."""
    with _placed("tables"):
        _check_tasks(program)
        _check_emits(program)
        tree, owner = _check_trees(program)
        _check_ways(program, tree)
        _check_sinks(program, owner)
        _check_work(program)


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


def _inside(values: NDArray[np.integer], end: int, start: int = 0) -> NDArray[np.bool_]:
    return (start <= values) & (values < end)


def _check_tasks(program: Program) -> None:
    t, names, graph = program.tables, program.task_names, program.graph
    every = np.arange(t.task_core.size)
    if len(names) != every.size or not {"host.embed", "host.logits"} <= set(names):
        raise BadInput("tasks and their names differ", where="tables", fix=AGAIN)
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
    encodes = t.task_channel_n > 0
    _hold(encodes == (t.task_site >= 0), "channels without a site", names, every)
    _hold(
        (t.task_channel_lo >= 0) & (t.task_channel_n >= 0)
        & (t.task_channel_lo + t.task_channel_n <= np.where(encodes, width[t.task_site], 0)),
        "channels beyond the site", names, every,
    )  # fmt: skip


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
    _hold(t.emit_n >= 1, "an empty net", names, task)
    for code, (start, n) in own.items():
        mine = t.emit_class != code
        mine |= (start[task] <= lo) & (end <= start[task] + n[task])
        _hold(mine, "sends what it does not hold", names, task)
    tiles = t.task_kind[task] == TILE
    _hold(tiles == (t.emit_class == PARTIAL), "only tiles send partial sums", names, task)
    _hold(t.tree_task[t.emit_tree] == task, "a tree of another task", names, task)
    _hold(t.tree_source == t.task_core[t.tree_task], "a tree from elsewhere", names, t.tree_task)


def _check_trees(program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every node and sink hangs below one parent that comes before it, so a walk ends.

    Returns the tree of every node, and of every sink.
    """
    t, names = program.tables, program.task_names
    n_nodes, n_sinks = t.node_link.size, t.sink_core.size
    every = np.arange(n_nodes)
    has = t.tree_root >= 0
    _hold(_inside(t.tree_root, n_nodes, -1), "root", names, t.tree_task)
    parent = np.full(n_nodes, -1, np.int64)
    _claim(parent, t.tree_root[has], t.tree_root[has] + 1, np.flatnonzero(has))
    is_root = parent >= 0
    inner = t.node_first_child < t.node_last_child
    if (t.node_first_child[inner] <= every[inner]).any():
        raise BadInput("a tree node before its parent", where="node_first_child", fix=AGAIN)
    _claim(parent, t.node_first_child, t.node_last_child, every)
    if (parent < 0).any():
        raise BadInput("a tree node below no tree", where="node_first_child", fix=AGAIN)
    tree = np.where(is_root, parent, -1)
    for node in np.flatnonzero(~is_root):  # parents come first
        tree[node] = tree[parent[node]]
    _hold(_inside(t.node_link, t.link_kind.size), "unknown link", names, t.tree_task[tree])
    owner = np.full(n_sinks, -1, np.int64)
    _claim(owner, t.tree_first_local, t.tree_last_local, np.arange(t.tree_root.size))
    _claim(owner, t.node_first_sink, t.node_last_sink, tree)
    _hold(_inside(t.sink_task, len(names)), "unknown sink", names, t.tree_task[owner])
    _hold(t.task_core[t.sink_task] == t.sink_core, "a sink elsewhere", names, t.sink_task)
    if (owner < 0).any():
        raise BadInput("a sink below no tree", where="sink_task", fix=AGAIN)
    return tree, owner


def _claim(
    owner: NDArray[np.int64], first: ArrayLike, last: ArrayLike, by: NDArray[np.integer]
) -> None:
    """owner[i] = by[row] for i in first[row] .. last[row]; nobody may be owned twice."""
    for lo, hi, who in zip(np.asarray(first), np.asarray(last), by, strict=True):
        if lo < hi and (lo < 0 or hi > owner.size or (owner[lo:hi] >= 0).any()):
            raise BadInput("trees share a node or a sink", where="tables", fix=AGAIN)
        owner[lo:hi] = who


def _check_ways(program: Program, tree: NDArray[np.int64]) -> None:
    """Every link of a tree begins where the one before it ends, the last at the sinks' router."""
    t, names, owner = program.tables, program.task_names, program.tables.tree_task[tree]
    begin, end, kind = _links(program)
    if t.link_kind.size != kind.size or program.host_core >= kind.size:
        raise BadInput(f"{t.link_kind.size} links of {kind.size}", where="link_kind", fix=AGAIN)
    _hold(t.link_kind[t.node_link] == kind[t.node_link], "a link of another kind", names, owner)
    came_from = np.full(tree.size, -1, np.int64)
    for node, (lo, hi) in enumerate(zip(t.node_first_child, t.node_last_child, strict=True)):
        came_from[lo:hi] = end[t.node_link[node]]
    roots = t.tree_root[t.tree_root >= 0]
    n_routers = kind.size - program.host_core - 2 >> 2
    came_from[roots] = n_routers + t.tree_source[t.tree_root >= 0]
    _hold(begin[t.node_link] == came_from, "a tree that jumps", names, owner)
    place = t.sink_core // program.chip.layout.cores_per_router
    place[t.sink_core == program.host_core] = n_routers + program.host_core
    for node, (lo, hi) in enumerate(zip(t.node_first_sink, t.node_last_sink, strict=True)):
        _hold(place[lo:hi] == end[t.node_link[node]], "a sink elsewhere", names, owner[node])
    for at, (lo, hi) in enumerate(zip(t.tree_first_local, t.tree_last_local, strict=True)):
        same = t.sink_core[lo:hi] == t.tree_source[at]
        _hold(same, "a sink elsewhere", names, t.tree_task[at])


def _links(program: Program) -> tuple[NDArray[np.int64], ...]:
    """Where links begin and end, and their kinds: [one per core, host in, 4 per router, host out].

    A place is a router's number, or the number of routers plus that of a core or the host.
    """
    layout = program.chip.layout
    (chips_w, chips_h), (w, h) = layout.chips, layout.routers
    y, x = np.divmod(np.arange(chips_w * w * chips_h * h), chips_w * w)
    n_cores = x.size * layout.cores_per_router
    cores, host = np.arange(n_cores), x.size + n_cores
    begin = [x.size + cores, [host], np.repeat(np.arange(x.size), 4), [0]]
    steps = np.array([1, -1, -chips_w * w, chips_w * w])  # east, west, north, south
    end = [cores // layout.cores_per_router, [0], (np.arange(x.size)[:, None] + steps).ravel()]
    border = [x % w == w - 1, x % w == 0, y % h == 0, y % h == h - 1]
    kinds = np.array([1, 1, 2, 2]) + 2 * np.stack(border, axis=1)  # chip_x, chip_y at borders
    host_link = LINKS.index("host")
    kind = [np.zeros(n_cores), [host_link], kinds.ravel(), [host_link]]
    return tuple(np.concatenate(c).astype(np.int64) for c in (begin, [*end, [host]], kind))


def _check_sinks(program: Program, owner: NDArray[np.int64]) -> None:
    """A message meets its sink at the axon or neuron that the sink's own range says."""
    t, names = program.tables, program.task_names
    carries = np.zeros((t.tree_root.size, 3), np.int64)  # class, units, residue
    carries[t.emit_tree] = np.stack([t.emit_class, t.emit_n, t.emit_residue], axis=1)
    kind, n, residue = carries[owner].T
    task = t.sink_task
    tile = t.task_kind[task] == TILE
    _hold(tile == (kind == SPIKE), "spikes go to tiles, all else to vector tasks", names, task)
    base = np.where(kind == SPIKE, -t.task_pre[task], -t.task_neuron_lo[task])
    _hold(t.sink_base == np.where(kind == VALUE, 0, base), "a shifted sink", names, task)

    def arriving(units: NDArray[np.integer]) -> NDArray[np.int64]:
        found = np.zeros(len(names), np.int64)
        np.add.at(found, task, units)
        return found

    every = np.arange(len(names))
    units = np.where(kind == SPIKE, 1, n)
    always = arriving(np.where(residue < 0, units, 0))
    _hold(t.task_need == always, "awaits another number than it is sent", names, every)
    sometimes = arriving(np.where(residue < 0, 0, units))
    _hold(t.task_extra == sometimes, "awaits another number than it is sent", names, every)
    axons = np.where(t.task_kind == TILE, t.task_n_pre, 0)
    driven = arriving(np.where(kind == SPIKE, n, 0))
    _hold(axons == driven, "axons that no channel drives", names, every)


def _check_work(program: Program) -> None:
    t, names = program.tables, program.task_names
    _hold(_inside(t.work_task, len(names)), "work of no task", names, t.work_task)
    _hold(_inside(t.work_kind, len(KINDS)), "unknown kind of work", names, t.work_task)
    _hold(t.work_count >= 0, "negative work", names, t.work_task)

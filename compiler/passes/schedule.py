"""Flatten tasks, nets and trees into the arrays the event engine reads."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.audit.arrivals import arrivals
from compiler.audit.trees import tree_of_sink
from compiler.conditions import conditions
from compiler.graph import Condition, Graph, reads
from compiler.passes.pack import Packing
from compiler.passes.place import Placement
from compiler.passes.route import Trees, core_of_task
from compiler.passes.router_tables import RouterTables
from compiler.program import HOST, I64, PARTIAL, SPIKE, TILE, VALUE, VECTOR, Tables
from compiler.tasks import Dataflow, Net, Task
from hw_models.chip import Chip
from hw_models.errors import Bug
from hw_models.events import KINDS

KIND_INDEX = {kind: i for i, kind in enumerate(KINDS)}
CLASS = {"spike": SPIKE, "partial": PARTIAL, "value": VALUE}


def op_names(graph: Graph) -> tuple[str, ...]:
    """Operations that counters and reports speak of: host, stages and linears, in order."""
    names = ["host"]
    for stage in graph.stages:
        names += [*reads(stage), stage.name]
    return tuple(names)


def static_work(task: Task) -> tuple[dict[str, int], dict[str, int]]:
    """Event counts of one firing, and once more per token in the ring (DESIGN 3.5, 4)."""
    work = dict(task.work)
    if task.tile is not None:
        sums = task.tile.n_post * task.tile.groups
        work = {"group_mac": sums, "acc_access": 2 * sums}  # read, and cleared for the next token
    if task.neurons is not None and task.gathers:
        work["neuron_update"] = task.rows * task.neurons[1]
    if task.channels is not None and task.encodes and not task.resends:
        work["encode"] = task.channels[1]
    return work, dict(task.ring_work)


def duration_ps(task: Task, chip: Chip, work: dict[str, int]) -> int:
    """Time on the core from the last input to the first output."""
    if task.on_host:
        return 0
    timing = chip.timing
    neurons = task.tile.n_post if task.tile else work.get("neuron_update", 0)
    return (
        timing.update_ps * neurons
        + timing.encode_ps * work.get("encode", 0)
        + timing.vector_ps * _instructions(work)
    )


def _instructions(work: dict[str, int]) -> int:
    return sum(n for kind, n in work.items() if kind.startswith("vec_"))


def schedule(
    graph: Graph,
    flow: Dataflow,
    packing: Packing,
    placement: Placement,
    trees: Trees,
    routers: RouterTables,
    chip: Chip,
) -> Tables:
    """Tables in task order; each task's emissions in the order its nets were made."""
    emits: list[list[tuple[int, Net]]] = [[] for _ in flow.tasks]
    for tree, net in enumerate(flow.nets):
        emits[net.source].append((tree, net))
    order = [(tree, net) for mine in emits for tree, net in mine]
    number = _numbers(graph)
    columns = _task_columns(graph, flow, chip)
    works = [static_work(t) for t in flow.tasks]
    rows = [
        (i, KIND_INDEX[kind], n, ring)
        for i, pair in enumerate(works)
        for ring, counts in enumerate(pair)
        for kind, n in sorted(counts.items())
    ]
    work = np.array(rows, np.int64).reshape(-1, 4).T
    used = np.unique(trees.link)
    kinds = np.full(placement.mesh.n_links, -1, np.int8)
    kinds[used] = placement.mesh.links.kind[used]
    return Tables(
        task_core=core_of_task(flow, packing, placement).astype(np.int32),
        **columns,
        task_emit=np.cumsum([0] + [len(mine) for mine in emits]).astype(np.int32),
        emit_tree=_i32(tree for tree, _ in order),
        emit_class=_i32(CLASS[net.message] for _, net in order),
        emit_lo=_i32(net.lo for _, net in order),
        emit_n=_i32(net.n for _, net in order),
        emit_residue=_i32(net.residue for _, net in order),
        emit_condition=_i32(number[net.condition] for _, net in order),
        tree_root=trees.root,
        tree_source=trees.source,
        tree_first_local=trees.first_local,
        tree_last_local=trees.last_local,
        tree_task=_i32(net.source for net in flow.nets),
        tree_key=routers.key.astype(np.int32),
        node_link=trees.link,
        node_first_child=trees.first_child,
        node_last_child=trees.last_child,
        node_first_sink=trees.first_sink,
        node_last_sink=trees.last_sink,
        sink_core=trees.sink_core,
        sink_task=trees.sink_task,
        sink_base=trees.sink_base,
        work_task=work[0].astype(np.int32),
        work_kind=work[1].astype(np.int32),
        work_count=work[2],
        work_ring=work[3].astype(np.int32),
        entry_router=routers.entries.router.astype(np.int32),
        entry_key=routers.entries.key.astype(np.int32),
        entry_mask=routers.entries.mask.astype(np.int32),
        entry_ports=routers.entries.ports.astype(np.int32),
        link_kind=kinds,
    )


def _numbers(graph: Graph) -> dict[Condition | None, int]:
    return {None: -1} | {condition: i for i, condition in enumerate(conditions(graph))}


def _i32(values: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(values, np.int32)


def _kind(task: Task) -> int:
    if task.on_host:
        return HOST
    return TILE if task.tile is not None else VECTOR


def _task_columns(graph: Graph, flow: Dataflow, chip: Chip) -> dict[str, NDArray[Any]]:
    """The task_* columns that do not depend on where a task runs."""
    ops = {name: i for i, name in enumerate(op_names(graph))}
    stages = {s.name: (i, s) for i, s in enumerate(graph.stages)}
    linears = {lin.name: i for i, lin in enumerate(graph.linears)}
    sites = {s.name: i for i, s in enumerate(graph.sites)}
    number = _numbers(graph)
    periods = [1] * len(flow.tasks)
    for net in flow.nets:
        periods[net.source] = max(periods[net.source], net.period)
    rows: list[tuple[int, ...]] = []
    state_of = _state(flow)
    for i, (task, sends) in enumerate(zip(flow.tasks, periods, strict=True)):
        ring, tile = task.ring, task.tile
        index, stage = stages.get(task.op, (-1, None))
        # a task that only adds sums up belongs to their linear's operation
        linear = stage.linear if stage and task.neurons else task.op
        work, per_token = static_work(task)
        neurons = (tile.post, tile.n_post) if tile else (task.neurons or (0, 0))
        rows.append(
            (
                _kind(task),
                ops[task.op],
                task.need,
                task.extra,
                ring.period if ring else sends,
                ring.residue if ring else -1,
                ring.window if ring else 0,
                duration_ps(task, chip, work),
                chip.timing.vector_ps * _instructions(per_token),
                index if task.gathers else -1,
                linears.get(str(linear), -1) if neurons[1] else -1,
                *neurons,
                *((tile.pre, tile.n_pre) if tile else (0, 0)),
                *(task.channels or (0, 0)),
                -1 if task.site is None else sites[task.site],
                state_of[i],
                number[task.condition],
                task.rows,
                tile.axons if tile else 0,
                tile.synapses if tile else 0,
            )
        )
    names = (
        *("kind", "op", "need", "extra", "period", "residue", "window", "ps", "ring_ps"),
        *("gathers", "linear", "neuron_lo", "neuron_n", "pre", "n_pre"),
        *("channel_lo", "channel_n", "site", "state", "condition", "rows"),
        *("axons", "synapses"),
    )
    wide = {"need", "extra", "ps", "ring_ps", "state", "synapses"}
    return {
        f"task_{name}": np.array(column, np.int64 if name in wide else np.int32)
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def _state(flow: Dataflow) -> list[int]:
    """Bytes that a unit takes of its core's state memory, charged to its first task."""
    found = [0] * len(flow.tasks)
    for unit in flow.units:
        found[unit.tasks[0]] = unit.state_bytes
    return found


def verify(tables: Tables, graph: Graph) -> None:
    """Whatever is sent arrives where it is awaited: add up what reaches every task, compare.

    What the stripes of a KV ring await depends on the token: checked for every residue. Of experts
    that are chosen, any top_k of a router's send what is awaited.
    """
    t = tables
    owner = tree_of_sink(t)
    carries = np.empty((t.tree_root.size, 3), np.int64)  # units, period, residue
    units = np.where(t.emit_class == SPIKE, 1, t.emit_n)
    period = t.task_period[t.tree_task[t.emit_tree]]
    carries[t.emit_tree] = np.stack([units, period, t.emit_residue], axis=1)
    reach = carries[owner]  # by sink

    def compare(which: NDArray[np.bool_], awaited: I64) -> None:
        due = arrivals(t, graph, owner, reach[:, 0], which)
        for wrong in (*t.sink_task[due.stray].tolist(), *due.uneven.tolist()):
            raise Bug(f"task {wrong} awaits other experts than it is sent", where="schedule")
        for task in np.flatnonzero(due.units != awaited).tolist():
            what = f"task {task} awaits {awaited[task]}, is sent {due.units[task]}"
            raise Bug(what, where="schedule")

    always = reach[:, 2] < 0
    compare(always, t.task_need)
    for period, residue in np.unique(reach[~always, 1:], axis=0).tolist():
        due = (reach[:, 1] == period) & (reach[:, 2] == residue)
        mine = (t.task_period == period) & (t.task_residue == residue)
        compare(due, np.where(mine, t.task_extra, 0))

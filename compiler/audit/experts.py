"""What must hold of a program's tables where a router decides what runs."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import AGAIN, tree_of_sink
from compiler.conditions import conditions
from compiler.graph import Graph, Residual, Router
from compiler.program import SPIKE, Program, Tables
from hw_models.errors import BadInput


def resends(t: Tables) -> NDArray[np.bool_]:
    """Tasks that send on what an encoder beside them has counted, when a router has chosen."""
    found = np.zeros(t.task_core.size, bool)
    found[t.tree_task[t.emit_tree[t.emit_condition >= 0]]] = True
    return found


def check_experts(program: Program) -> None:
    """Raises BadInput that names the task.

    Spikes for a router's experts come from tasks of their own, each beside an encoder of the same
    channels; together they send all channels to every expert. They, and the homes that add the
    experts up, are told what the router chooses; a home has room for as many sums.
    """
    t, graph, names = program.tables, program.graph, program.task_names
    n = len(conditions(graph))
    emitter = t.tree_task[t.emit_tree]
    _hold((t.emit_condition >= -1) & (t.emit_condition < n), "unknown condition", names, emitter)
    waits = t.emit_condition >= 0
    sender = resends(t)
    _hold(~waits | (t.emit_class == SPIKE), "not spikes that wait for a router", names, emitter)
    spikes = sender[emitter] & (t.emit_class == SPIKE)
    _hold(spikes == waits, "spikes that wait for no router", names, emitter)
    _hold(~sender | (t.task_condition < 0), "waits for two routers", names, np.arange(sender.size))
    _check_senders(program, sender)
    _check_told(program, sender)
    _check_rows(program)


def _hold(
    rule: NDArray[np.bool_], what: str, names: tuple[str, ...], owner: NDArray[np.integer]
) -> None:
    for row in np.flatnonzero(~rule).tolist():
        raise BadInput(what, where=names[int(owner[row])], fix=AGAIN)


def _check_senders(program: Program, sender: NDArray[np.bool_]) -> None:
    """Each is beside an encoder of the same channels, and sends each expert all of them."""
    t, names = program.tables, program.task_names
    own = np.stack([t.task_core, t.task_site, t.task_channel_lo, t.task_channel_n], axis=1)
    encoders = set(map(tuple, own[(t.task_site >= 0) & ~sender].tolist()))
    for task in np.flatnonzero(sender).tolist():
        if tuple(own[task].tolist()) not in encoders:
            raise BadInput("no encoder beside it", where=names[task], fix=AGAIN)


def _choices(graph: Graph) -> dict[int, Router]:
    """{stage: router} by the numbers of routers' stages."""
    return {i: s for i, s in enumerate(graph.stages) if isinstance(s, Router)}


def _check_told(program: Program, sender: NDArray[np.bool_]) -> None:
    """Index and weight of every chosen expert reach who sends to them and who adds them up."""
    t, graph, names = program.tables, program.graph, program.task_names
    routers = _choices(graph)
    number = {router.name: i for i, router in routers.items()}
    tree = tree_of_sink(t)
    n = np.zeros(t.tree_root.size, np.int64)
    n[t.emit_tree] = t.emit_n
    told: dict[tuple[int, int], int] = {}
    stage = t.task_gathers[t.tree_task[tree]]
    for sink in np.flatnonzero(np.isin(stage, list(routers))).tolist():
        told[int(t.sink_task[sink]), int(stage[sink])] = int(n[tree[sink]])
    asks: set[tuple[int, int]] = set()
    of = [number[router] for router, _ in conditions(graph)]
    waits = t.emit_condition >= 0
    pairs = zip(t.tree_task[t.emit_tree[waits]].tolist(), t.emit_condition[waits].tolist(),
                strict=True)  # fmt: skip
    asks |= {(task, of[condition]) for task, condition in pairs}
    behind = {i: number[s.router] for i, s in enumerate(graph.stages)
              if isinstance(s, Residual) and s.router is not None}  # fmt: skip
    homes = np.flatnonzero(np.isin(t.task_gathers, list(behind)))
    asks |= {(task, behind[int(t.task_gathers[task])]) for task in homes.tolist()}
    for task, router in sorted(asks):
        if told.get((task, router)) != 2 * routers[router].top_k:
            what = f"does not know the choice of {routers[router].name}"
            raise BadInput(what, where=names[task], fix=AGAIN)


def _check_rows(program: Program) -> None:
    """Sums per neuron: one, and one more per chosen expert."""
    t, graph = program.tables, program.graph
    top_k = {s.name: s.top_k for s in graph.stages if isinstance(s, Router)}
    rows = [
        1 + top_k[s.router] if isinstance(s, Residual) and s.router else 1 for s in graph.stages
    ]
    wanted = np.where(t.task_gathers >= 0, np.array(rows)[t.task_gathers], 1)
    _hold(t.task_rows == wanted, "another number of sums per neuron", program.task_names,
          np.arange(wanted.size))  # fmt: skip

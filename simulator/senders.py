"""Who sends in a step of the chip, in which order, and what: simulator.routes says where it goes.

Besides the parts of populations (simulator.lockstep) there are senders of what leaves in every
step: a tile whose sums go to neurons on another core, and neurons that hand their membranes to the
host. A sum is like a neuron that always fires.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import tree_of_sink
from compiler.program import HOST, PARTIAL, SPIKE
from hw_models.errors import Bug
from hw_models.events import MESSAGES
from simulator.hot import contention as hot
from simulator.lags import ways_of_sums
from simulator.lockstep import Lockstep

I64 = NDArray[np.int64]

Sender = tuple[tuple[int, int, int, int, int], list[tuple[int, int]]]
"""Part, core, task, lag and members; tree and values of each message."""


@dataclass(frozen=True, slots=True)
class StepCosts:
    """ps: per neuron and step, per neuron with something to do, per spike, message sent, message
    received, synop; per crossing of a link of each kind how long it is held by a flit and how long
    a message's first flit is on its way; per partial sum; per barrier.

    lanes: synops at once. Links of kinds without a hop take no time. with_host: messages to the
    host are waited for as well. in_series: a core takes in messages when its neurons are done, not
    beside them.
    """

    access: int
    update: int
    fire: int
    send: int
    receive: int
    synop: int
    held: dict[str, int]
    hop: dict[str, int]
    barrier: int
    partial: int = 0
    lanes: int = 1
    with_host: bool = False
    in_series: bool = False


@dataclass(frozen=True, slots=True)
class Senders:
    """Rows of Routes.part and of Routes.way, int64.

    part     of the Lockstep; -1: of sums or values, which leave in every step
    core     of the part
    task     that updates its neurons or forms its sums; -1: no work of a core
    lag      steps of the chip that the part is behind the host
    member   where its members are in a row of a chip's step
    n        members of the part
    begin    ways before those of the part, and of all
    tree     of the way
    values   of a message on it; 0 for spikes
    """

    part: I64
    core: I64
    task: I64
    lag: I64
    member: I64
    n: I64
    begin: I64
    tree: I64
    values: I64


def senders_of(lockstep: Lockstep, costs: StepCosts) -> Senders:
    """Sums that were complete when the step began; the host and the neurons; their membranes."""
    parts, ways = lockstep.parts, lockstep.ways
    known = costs.with_host | (ways.core != lockstep.program.host_core)
    sums, membranes = _in_every_step(lockstep) if costs.with_host else ([], [])
    about = np.stack([np.arange(parts.core.size), parts.core, parts.task, parts.lag, parts.size])
    sent = _trees_of_parts(parts.core.size, ways.part[known], ways.tree[known])
    spikes: list[Sender] = list(zip(map(tuple, about.T.tolist()), sent, strict=True))
    rows = [*sums, *spikes, *membranes]
    part, core, task, lag, n = np.array([row for row, _ in rows], np.int64).T.copy()
    own = part < 0
    member = parts.first[np.maximum(part, 0)]
    member[own] = int(parts.size.sum()) + np.cumsum(n[own]) - n[own]
    pairs = [pair for _, sent in rows for pair in sent]
    tree, values = np.array(pairs, np.int64).reshape(-1, 2).T.copy()
    begin = np.concatenate([[0], np.cumsum([len(sent) for _, sent in rows])]).astype(np.int64)
    return Senders(part, core, task, lag, member, n, begin, tree, values)


def _trees_of_parts(n: int, part: I64, tree: I64) -> list[list[tuple[int, int]]]:
    """Trees of every part, each once, in their order: (tree, 0)."""
    _, first = np.unique(np.stack([part, tree]), axis=1, return_index=True)
    kept = np.sort(first)
    kept = kept[np.argsort(part[kept], kind="stable")]
    cuts = np.searchsorted(part[kept], np.arange(1, n))
    return [[(one, 0) for one in own.tolist()] for own in np.split(tree[kept], cuts)]


def _in_every_step(lockstep: Lockstep) -> tuple[list[Sender], list[Sender]]:
    """(sums, membranes). The last message of some is shorter, and has a sender of its own."""
    program, parts = lockstep.program, lockstep.parts
    t, linears = program.tables, [layer.linear for layer in lockstep.layers]
    to_host = np.unique(tree_of_sink(t)[t.task_kind[t.sink_task] == HOST])
    depth = ways_of_sums(program)
    lags = dict(zip(parts.layer.tolist(), parts.lag.tolist(), strict=True))
    sums: list[Sender] = []
    membranes: list[Sender] = []
    away = (t.tree_root[t.emit_tree] >= 0) & (t.emit_class != SPIKE)
    for emit in np.flatnonzero(away).tolist():
        tree, kind, n = int(t.emit_tree[emit]), int(t.emit_class[emit]), int(t.emit_n[emit])
        task = int(t.tree_task[tree])
        if kind == PARTIAL:
            layer = linears.index(program.graph.linears[t.task_linear[task]].name)
            lag, found, worker = lags[layer] + 1 + int(depth[task]), sums, task
        elif tree in to_host:
            lag, found, worker = int(parts.lag.max()), membranes, -1
        else:
            raise Bug("values from core to core", where=program.task_names[task])
        core, per = int(t.task_core[task]), program.chip.formats[MESSAGES[kind]].values_per_message
        full = -(-n // per) - 1
        for members, values in ((full, per), (1, n - full * per)):
            if members:
                found.append(((-1, core, worker, lag, members), [(tree, values)]))
    return sums, membranes


def part_table(senders: Senders, costs: StepCosts, cores: I64) -> I64:
    """Neurons take time, and sums as long to be formed; the host and membranes sent do not."""
    table = np.zeros((senders.part.size, 6), np.int64)
    table[:, hot.P_CORE] = np.searchsorted(cores, senders.core)
    table[:, hot.P_FIRST], table[:, hot.P_END] = senders.member, senders.member + senders.n
    neurons = (senders.part >= 0) & (senders.lag > 0)
    for column, ps in (
        (hot.P_ACCESS, costs.access), (hot.P_UPDATE, costs.update), (hot.P_FIRE, costs.fire)
    ):  # fmt: skip
        table[neurons, column] = ps
    sums = np.flatnonzero((senders.part < 0) & (senders.task >= 0))
    table[sums, hot.P_FIRE] = senders.values[senders.begin[sums]] * costs.access
    return table

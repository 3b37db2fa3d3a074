"""What every core and router of a program holds, recounted from its tables, against the target."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from compiler.audit.experts import resends
from compiler.graph import Gla, Parallel, Population, Residual, Window, feeds
from compiler.lazy_decay import pending_bytes
from compiler.program import TILE, VECTOR, Program
from kernels.neurons import NEURONS

I64 = NDArray[np.int64]


class Use(NamedTuple):
    """One resource: by place (a core's or router's number), and the most that a place has."""

    resource: str
    where: str  # "core" or "router"
    used: I64
    limit: int


def uses(program: Program) -> Iterator[Use]:
    """Every resource that is limited per core or router."""
    t, core = program.tables, program.chip.core
    n = program.mesh.n_cores + 1  # the host, which has no limits, is left out at the end
    tile = t.task_kind == TILE
    at = t.task_core.astype(np.int64)

    def add(which: NDArray[np.bool_], amounts: NDArray[np.integer]) -> I64:
        total = np.bincount(at[which], amounts[which].astype(np.float64), n)
        return total[:-1].astype(np.int64)

    yield Use("synapse memory", "core", add(tile, synapse_bytes(program)), core.synapse_memory)
    every = np.ones(at.size, bool)
    yield Use("state memory", "core", add(every, t.task_state), core.state_memory)
    neurons = tile | (t.task_kind == VECTOR)
    yield Use("neurons", "core", add(neurons, t.task_neuron_n), core.neurons)
    yield Use("in-axons", "core", add(tile, t.task_axons), core.in_axons)
    trees = np.bincount(t.tree_source, minlength=n)[:-1]
    yield Use("out-axons", "core", trees, core.out_axons)
    entries = np.bincount(t.entry_router, minlength=program.mesh.n_routers)
    yield Use("table entries", "router", entries, core.table_entries)


def synapse_bytes(program: Program) -> I64:
    """Bytes by task: what its synapses take, in a list with their neurons' numbers; on crossbars
    whole arrays."""
    t, chip = program.tables, program.chip
    if chip.array is not None:
        n_pre, n_post = t.task_n_pre.astype(np.int64), t.task_neuron_n.astype(np.int64)
        found: I64 = -(-n_pre // chip.array.rows) * -(-n_post // chip.array.neurons)
        return found * chip.array.weights
    each = [
        linear.bits + (chip.core.index_bits if linear.listed is not None else 0)
        for linear in program.graph.linears
    ]
    whole: I64 = -(-t.task_synapses * np.array([*each, 0], np.int64)[t.task_linear] // 8)
    return whole


def groups_by_task(program: Program) -> I64:
    """Accumulators per neuron of a tile; 0 of what is none."""
    t = program.tables
    width = np.array([*(lin.group for lin in program.graph.linears), 1], np.int64)[t.task_linear]
    found: I64 = np.where(t.task_kind == TILE, -(-t.task_n_pre.astype(np.int64) // width), 0)
    return found


def least_state(program: Program) -> I64:
    """Bytes by core that its tasks cannot do without; states of linear attention are left out."""
    t, slots = program.tables, program.chip.core.token_slots
    n_pre, neurons = t.task_n_pre.astype(np.int64), t.task_neuron_n.astype(np.int64)
    tile, gathers = t.task_kind == TILE, t.task_gathers >= 0
    groups = groups_by_task(program)
    sets = 2 + 4 * slots if program.chip.array is None else 2 + 4
    counts = 0 if program.chip.array is None else 4 * slots * n_pre
    # a home also scales its sums; those of chosen experts lie beside the others
    sums = (8 * slots * t.task_rows + np.where(gathers, 8 + _expert_scales(program), 0)) * neurons
    held = np.where(tile, neurons * groups * sets + counts, sums)
    held = np.where(t.task_kind == VECTOR, held + _ring_bytes(program), held)
    held += _neuron_bytes(program)
    held += (8 * slots + 4) * t.task_channel_n.astype(np.int64) * _keeps_floats(program)
    total = np.bincount(t.task_core, held.astype(np.float64), program.mesh.n_cores + 1)
    return total[:-1].astype(np.int64)


def _keeps_floats(program: Program) -> NDArray[np.bool_]:
    """Tasks with a vector of floats: one for all sites of a stage, and for who sends it again;
    spikes are none, and nothing is kept of them."""
    t, graph = program.tables, program.graph
    first = {feeds(stage)[0] for stage in graph.stages if feeds(stage)}
    coded = [s.threshold != "spikes" and s.name in first for s in graph.sites]
    found: NDArray[np.bool_] = np.array([*coded, False])[t.task_site] & ~resends(t)
    return found


def _expert_scales(program: Program) -> I64:
    """Bytes per neuron that a stage's home keeps of its experts: a float32 scale each."""
    graph, t = program.graph, program.tables
    n = [len(stage.experts) if isinstance(stage, Residual) else 0 for stage in graph.stages]
    found: I64 = 4 * np.array([*n, 0], np.int64)[t.task_gathers]
    return found


def _neuron_bytes(program: Program) -> I64:
    """Parameters and state of spiking neurons: a float32 each."""
    t = program.tables
    kinds = {s.name: NEURONS[s.neuron] for s in program.graph.stages if isinstance(s, Population)}
    sizes = {name: 4 * (len(kind.parameters) + len(kind.state)) for name, kind in kinds.items()}
    each = np.array([sizes.get(op, 0) for op in program.ops], np.int64)[t.task_op]
    found: I64 = each * t.task_neuron_n
    return found


def _ring_bytes(program: Program) -> I64:
    """Stored keys and values of the stripes of KV rings: int8 and a float32 scale each."""
    t = program.tables
    rings = (s for s in program.graph.stages if isinstance(s, Window | Parallel))
    sizes = {s.name: 2 * (s.head_dim + 4) for s in rings}
    token = np.array([sizes.get(op, 0) for op in program.ops], np.int64)[t.task_op]
    found: I64 = -(-t.task_window.astype(np.int64) // t.task_period) * token
    return found


def recurrent_state(program: Program) -> Iterator[tuple[str, int, int]]:
    """(stage, bytes its tasks are charged with, bytes of state it cannot do without)."""
    t = program.tables
    charged = np.bincount(t.task_op, t.task_state.astype(np.float64), len(program.ops))
    for stage in program.graph.stages:
        least = 0
        if isinstance(stage, Gla | Parallel):
            least += 4 * stage.heads * stage.head_dim**2
        if isinstance(stage, Gla):
            least += stage.heads * pending_bytes(program.chip.core, stage.head_dim)
        if isinstance(stage, Window | Parallel):
            kept = stage.window + (stage.sinks if isinstance(stage, Parallel) else 0)
            least += kept * stage.kv_heads * 2 * (stage.head_dim + 4)
        if least:
            yield stage.name, int(charged[program.ops.index(stage.name)]), least

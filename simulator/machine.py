"""Lay a program out as the arrays of the event engine, and enlarge them when they fill."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.program import TILE, VECTOR, Program
from hw_models.events import LINKS, MESSAGES
from kernels.coding import CODINGS
from simulator.hot.state import N_REGISTERS, PARK, R_FREE, R_FREE_PARKED, R_FREE_VALUES, Fixed, State

GROUP = 128
RING = 512
"""Most tokens between the first and the last operand of one stage."""
TRACE_ROWS = 1 << 20


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of every item when items of these sizes lie one after another."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def fixed_arrays(program: Program, slots: int) -> Fixed:
    """The engine's read-only side: tables, timing, weights in axon-major tiles."""
    t, chip = program.tables, program.chip
    sites, linears = program.graph.sites, program.graph.linears
    codings = [program.codings[s.name] for s in sites]
    spike = chip.formats["spike"]
    tiles = t.task_kind == TILE
    groups = np.where(tiles, -(-t.task_n_pre // GROUP), 0).astype(np.int64)
    neurons = t.task_neuron_n.astype(np.int64)
    weight_sizes = np.where(tiles, t.task_n_pre * neurons, 0)
    sums = np.where(tiles, slots * groups * neurons, slots * neurons)
    # accumulators of tiles and sums of vector tasks live in two arrays of their own
    sums_offset = np.where(
        tiles,
        _offsets(np.where(tiles, sums, 0))[:-1],
        _offsets(np.where(tiles, 0, sums))[:-1],
    )
    weight_offset = _offsets(weight_sizes)
    mantissa_offset = _offsets(groups * neurons)
    weight = np.zeros(weight_offset[-1], np.int8)
    mantissa = np.zeros(mantissa_offset[-1], np.int64)  # products with A need 64 bits
    for i in np.flatnonzero(tiles):
        arrays = program.linears[linears[t.task_linear[i]].name]
        rows = slice(t.task_neuron_lo[i], t.task_neuron_lo[i] + t.task_neuron_n[i])
        pre = slice(t.task_pre[i], t.task_pre[i] + t.task_n_pre[i])
        weight[weight_offset[i] : weight_offset[i + 1]] = arrays.q[rows, pre].T.reshape(-1)
        first = t.task_pre[i] // GROUP
        m = arrays.m[rows, first : first + groups[i]]
        mantissa[mantissa_offset[i] : mantissa_offset[i + 1]] = m.T.reshape(-1)
    tables = {n: getattr(t, n).astype(np.int64) for n in Fixed._fields if hasattr(t, n)}
    sinks = np.zeros(t.tree_root.size, np.int64)
    np.add.at(sinks, _tree_of_sinks(program), 1)
    timing, core = chip.timing, chip.core
    return Fixed(
        **tables,
        tree_fan_out=sinks,
        flit_bits=np.array([chip.links[k].flit_bits for k in LINKS], np.int64),
        flit_ps=np.array([chip.links[k].flit_ps for k in LINKS], np.int64),
        hop_ps=np.array([chip.links[k].hop_ps for k in LINKS], np.int64),
        site_coding=np.array([CODINGS[name].code for name, _ in codings], np.int64),
        site_bits=np.array([spike.header_bits + bits for _, bits in codings], np.int64),
        site_offset=_offsets(np.array([s.n for s in sites], np.int64)),
        linear_bits=np.array([program.partial_bits[lin.name] for lin in linears], np.int64),
        linear_offset=_offsets(np.array([lin.n_post for lin in linears], np.int64)),
        message_bits=np.array([header_bits(program, c) for c in MESSAGES], np.int64),
        message_values=np.array([chip.formats[c].values_per_message for c in MESSAGES], np.int64),
        value_bits=np.array([chip.formats["value"].payload_bits], np.int64),
        service=np.array(
            [
                timing.axon_ps,
                timing.row_ps,
                timing.synop_ps,
                timing.partial_ps,
                timing.value_ps,
                core.lanes,
                int(chip.abilities.row_buffer),
            ],
            np.int64,
        ),
        weight=weight,
        weight_offset=weight_offset,
        mantissa=mantissa,
        mantissa_offset=mantissa_offset,
        sums_offset=sums_offset,
        bound_offset=_offsets(slots * groups),
        slots=np.array([slots], np.int64),
    )


def header_bits(program: Program, message: str) -> int:
    """Fixed bits of a message: its header, and for a marker its whole payload."""
    form = program.chip.formats[message]
    return form.header_bits + (form.payload_bits if message == "marker" else 0)


def _tree_of_sinks(program: Program) -> NDArray[np.int64]:
    """Tree that each sink belongs to, by walking every tree."""
    t = program.tables
    tree = np.full(t.sink_core.size, -1, np.int64)
    for i, root in enumerate(t.tree_root):
        tree[t.tree_first_local[i] : t.tree_last_local[i]] = i
        todo = [int(root)] if root >= 0 else []
        while todo:
            node = todo.pop()
            tree[t.node_first_sink[node] : t.node_last_sink[node]] = i
            todo += range(t.node_first_child[node], t.node_last_child[node])
    return tree


def margin_of(program: Program) -> int:
    """Most messages a single event can create: an encoder with 31 spikes in every channel."""
    t = program.tables
    spikes = 31 * int(t.task_channel_n.max(initial=0))
    sends = int(np.diff(t.task_emit).max(initial=0))
    return spikes + int(t.emit_n.max(initial=0)) * sends + 64


def fresh_state(program: Program, fixed: Fixed, first: int, trace: bool) -> State:
    """Empty engine. `first` is the first token whose head runs (and what follows from it)."""
    t = program.tables
    slots = int(fixed.slots[0])
    n_tasks, n_links = t.task_core.size, t.link_kind.size
    n_cores = int(t.task_core.max()) + 1
    tiles = t.task_kind == TILE
    room = 4 * margin_of(program)
    reg = np.zeros(N_REGISTERS, np.int64)
    reg[R_FREE] = reg[R_FREE_VALUES] = reg[R_FREE_PARKED] = room
    per = int(fixed.message_values[1])
    stages = program.graph.stages
    stage_all = np.bincount(
        t.task_gathers[t.task_gathers >= 0], minlength=len(stages)
    ).astype(np.int64)
    site_first = np.array([0 if s.threshold != "absmax16" else first for s in program.graph.sites])
    done = np.where(_after_head(program), first, 0).astype(np.int64)
    i64 = np.int64
    return State(
        reg=reg,
        heap_time=np.zeros(room, i64),
        heap_tie=np.zeros(room, i64),
        heap_what=np.zeros(room, i64),
        link_free=np.zeros(n_links, i64),
        link_flits=np.zeros(n_links, i64),
        core_free=np.zeros(n_cores, i64),
        core_busy=np.zeros(n_cores, i64),
        core_seq=np.zeros(n_cores, i64),
        **{f"m_{n}": np.zeros(room, i64) for n in _RECORD},
        m_free=np.arange(room),
        values=np.zeros((room, per), i64),
        values_free=np.arange(room),
        got=np.zeros((n_tasks, slots), i64),
        next_fire=done.copy(),
        done=done,
        park_first=np.full((n_tasks, PARK), -1, i64),
        park_last=np.full((n_tasks, PARK), -1, i64),
        p_message=np.zeros(room, i64),
        p_sink=np.zeros(room, i64),
        p_next=np.zeros(room, i64),
        p_free=np.arange(room),
        last_axon=np.full(n_tasks, -1, i64),
        accumulator=np.zeros(_total(program, slots, tiles=True), np.int32),
        bound=np.zeros(int(fixed.bound_offset[-1]), i64),
        home=np.zeros(_total(program, slots, tiles=False), i64),
        row_sums=np.zeros(int(t.task_neuron_n[tiles].max(initial=1)), i64),
        received=np.zeros((t.sink_core.size, slots), i64),
        stage_sums=np.zeros((RING, int(fixed.linear_offset[-1])), i64),
        counts=np.zeros((RING, int(fixed.site_offset[-1])), np.int32),
        stage_left=np.repeat(stage_all[:, None], RING, 1),
        stage_token=np.full((len(stages), RING), -1, i64),
        stage_all=stage_all,
        site_first=site_first.astype(i64),
        ready=np.zeros((n_tasks + 8, 4), i64),
        tree_sent=np.zeros((t.tree_root.size, len(MESSAGES)), i64),
        sink_got=np.zeros((t.sink_core.size, len(MESSAGES)), i64),
        task_rows=np.zeros(n_tasks, i64),
        task_fired=np.zeros(n_tasks, i64),
        task_ring=np.zeros(n_tasks, i64),
        trace=np.zeros((TRACE_ROWS if trace else 0, 8), i64),
    )


_RECORD = ("tree", "class", "token", "bits", "times", "index", "value", "refs", "tie", "store")


def _total(program: Program, slots: int, *, tiles: bool) -> int:
    t = program.tables
    if tiles:
        groups = -(-t.task_n_pre // GROUP)
        return int((slots * groups * t.task_neuron_n)[t.task_kind == TILE].sum())
    return int((slots * t.task_neuron_n)[t.task_kind == VECTOR].sum())


def _after_head(program: Program) -> NDArray[np.bool_]:
    """Tasks that only see tokens whose head runs: the head's tiles, logits, the host's inbox."""
    t, graph = program.tables, program.graph
    logits = graph.stages[-1]
    wanted = {program.ops.index(logits.name), program.ops.index(str(logits.linear))}
    inbox = np.zeros(t.task_core.size, bool)
    inbox[program.task_names.index("host.logits")] = True
    return np.isin(t.task_op, list(wanted)) | inbox


def enlarged(state: State) -> State:
    """The same engine with twice the room for events, messages and parked entries."""
    grown: dict[str, Any] = {}
    reg = state.reg.copy()
    room = state.heap_time.size
    for name in ("heap_time", "heap_tie", "heap_what", *(f"m_{n}" for n in _RECORD), "values"):
        old = getattr(state, name)
        grown[name] = np.concatenate([old, np.zeros_like(old)])
    for name, register in (
        ("m_free", R_FREE),
        ("values_free", R_FREE_VALUES),
        ("p_free", R_FREE_PARKED),
    ):
        old = getattr(state, name)
        free = np.zeros(2 * room, np.int64)
        count = int(reg[register])
        free[:count] = old[:count]
        free[count : count + room] = np.arange(room, 2 * room)
        reg[register] = count + room
        grown[name] = free
    for name in ("p_message", "p_sink", "p_next"):
        old = getattr(state, name)
        grown[name] = np.concatenate([old, np.zeros_like(old)])
    return state._replace(reg=reg, **grown)

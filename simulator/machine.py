"""Lay a program out as the arrays of the event engine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.accounting import plain_tasks
from compiler.audit.arrivals import condition_of_tree
from compiler.audit.limits import groups_by_task
from compiler.audit.trees import tree_of_sink
from compiler.conditions import added_up, first_of
from compiler.graph import Population, Residual, Router
from compiler.program import TILE, VECTOR, Program
from hw_models.chip import Sync
from hw_models.errors import BadInput
from hw_models.events import KINDS, LINKS, MESSAGES
from kernels.coding import CODINGS
from simulator.crossbar import array_constants, crossbar_cells
from simulator.helpers import threads
from simulator.hot import state as h
from simulator.hot.rows import scratch_size
from simulator.hot.state import Fixed, State
from simulator.listed import lists_of_tiles
from simulator.tiles import tile_arrays

I64 = NDArray[np.int64]

GROUP = 128
MOST_IN_FLIGHT = 2048
"""Tokens whose operands and counts are kept at once; more would have to wait for each other."""
TRACE_ROWS = 1 << 20
UNBOUNDED = 1 << 60
"""Flits of a buffer without an end, and copies of messages that may wait where none are kept."""
MOST_CLOSED = 256
"""Tiles whose sums are put off at once, and at least one per token slot."""
TOGETHER = 1 << 20
"""Synapses that take one thread as long (0.1 ms) as it takes to wake another."""
NEVER = 1 << 62


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Start of every item when items of these sizes lie one after another."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def fixed_arrays(
    program: Program,
    slots: int,
    sync: Sync | None = None,
    values: bool = True,
    waves: bool = False,
    streams: bool = True,
) -> Fixed:
    """The engine's read-only side: tables, timing, weights in axon-major tiles.

    sync: None for the target's. values: whether sums are formed; without, there are no weights.
    waves: whether messages of a step go over the links together (simulator.noc); barrier sync only.
    streams: whether events of a link or core wait in line (hot.queue); dataflow only.
    BadInput for barrier sync on a target that has no barrier_ps.
    """
    t, chip = program.tables, program.chip
    sites, linears = program.graph.sites, program.graph.linears
    codings = [program.codings[s.name] for s in sites]
    spike_header = chip.formats["spike"].header_bits
    timing, core = chip.timing, chip.core
    barrier_ps = timing.barrier_ps if (sync or chip.sync) == "barrier" else 0
    if (sync or chip.sync) == "barrier" and not barrier_ps:
        raise BadInput(
            f"{chip.name} does not say how long a barrier takes",
            where="timing.barrier_ps",
            fix='sbcompile --set "timing.barrier_ps=465 ns"',
        )
    update_ps = _step_updates(program) if barrier_ps else _zeros(t.task_core.size)
    task = _task_table(program, slots)
    task[:, h.PS] -= update_ps  # every step has it already
    cores = np.unique(t.task_core)
    owner = tree_of_sink(t)
    fan_out = np.bincount(owner, minlength=t.tree_root.size)
    weight, mantissa = tile_arrays(program, task) if values else (np.zeros(0, np.int8), _zeros(0))
    list_first, list_neuron, list_value = lists_of_tiles(program, task, values)
    cell = crossbar_cells(program, task) if values else np.zeros(0, np.uint16)
    return Fixed(
        task=task,
        emit=_columns(
            *(t.emit_tree, t.emit_class, t.emit_lo, t.emit_n, t.emit_residue, t.emit_condition)
        ),
        tree=_columns(
            *(t.tree_root, t.tree_source, t.tree_first_local, t.tree_last_local),
            *(fan_out, condition_of_tree(t), _offsets(fan_out)[:-1]),
        ),
        tree_sinks=np.argsort(owner, kind="stable"),
        node=_columns(
            t.node_link, t.node_first_child, t.node_last_child, t.node_first_sink, t.node_last_sink
        ),
        sink=_columns(t.sink_core, t.sink_task, t.sink_base),
        link_kind=t.link_kind.astype(np.int64),
        wire=_columns(
            [chip.links[k].flit_bits for k in LINKS],
            [chip.links[k].flit_ps for k in LINKS],
            [chip.links[k].hop_ps for k in LINKS],
            [chip.links[k].buffer_flits or UNBOUNDED for k in LINKS],
        ),
        site=_columns(
            [CODINGS[name].code for name, _ in codings],
            [spike_header + bits for _, bits in codings],
            _offsets(np.array([s.n for s in sites], np.int64))[:-1],
        ),
        linear=_columns(
            [program.partial_bits[lin.name] for lin in linears],
            _linear_offsets(program),
            [CODINGS[program.codings[lin.site][0]].code for lin in linears],
        ),
        message=_columns(
            [header_bits(program, c) for c in MESSAGES],
            [chip.formats[c].values_per_message for c in MESSAGES],
        ),
        service=np.array(
            [
                timing.axon_ps,
                timing.row_ps,
                timing.synop_ps,
                timing.partial_ps,
                timing.value_ps,
                core.lanes,
                chip.abilities.row_buffer,
                slots,
                chip.formats["value"].payload_bits,
                barrier_ps,
                values,
                waves and barrier_ps > 0 and not chip.bounded,
                TOGETHER if threads() > 1 else NEVER,
                streams and barrier_ps == 0 and not chip.bounded,
            ],
            np.int64,
        ),
        used_core=_columns(cores, np.bincount(t.task_core, update_ps)[cores]),
        weight=weight,
        mantissa=mantissa,
        list_first=list_first,
        list_neuron=list_neuron,
        list_value=list_value,
        condition=_condition_table(program),
        array=array_constants(program),
        cell=cell,
        bounded=1 if chip.bounded else None,
    )


def _columns(*columns: ArrayLike) -> I64:
    """One int64 table with these columns."""
    return np.ascontiguousarray(np.stack([np.asarray(c, np.int64) for c in columns], axis=1))


def _step_updates(program: Program) -> I64:
    """ps per task that its neurons take in every step under barrier sync."""
    t = program.tables
    neurons = t.work_kind == list(KINDS).index("neuron_update")
    updates = np.bincount(t.work_task[neurons], t.work_count[neurons], t.task_core.size)
    return updates.astype(np.int64) * program.chip.timing.update_ps


def _task_table(program: Program, slots: int) -> I64:
    """Columns as named in hot.state; offsets say where a task's arrays begin."""
    t = program.tables
    tiles = t.task_kind == TILE
    groups = groups_by_task(program)
    neurons = t.task_neuron_n.astype(np.int64)
    plain = plain_tasks(program)
    listed = tiles & ~plain
    # inputs of tiles and sums of vector tasks live in two arrays of their own
    sums = np.where(
        tiles,
        _offsets(slots * gathered(program))[:-1],
        _offsets(np.where(tiles, 0, slots * t.task_rows * neurons))[:-1],
    )
    return _columns(
        t.task_core,
        t.task_kind,
        t.task_need,
        t.task_extra,
        t.task_period,
        t.task_residue,
        t.task_window,
        t.task_ps,
        t.task_ring_ps,
        t.task_gathers,
        t.task_linear,
        t.task_neuron_lo,
        neurons,
        t.task_n_pre,
        groups,
        t.task_site,
        t.task_emit[:-1],
        t.task_emit[1:],
        _offsets(np.where(tiles & plain, t.task_n_pre * neurons, 0))[:-1],
        _offsets(groups * neurons)[:-1],
        sums,
        _offsets(slots * groups)[:-1],
        t.task_condition,
        t.task_rows,
        np.where(t.task_gathers < 0, -1, _experts_added(program)[t.task_gathers]),
        np.where(listed, _offsets(np.where(listed, t.task_n_pre + 1, 0))[:-1], -1),
    )


def _experts_added(program: Program) -> I64:
    """By stage: the first condition of the router whose experts it adds to the stream, or -1."""
    first = first_of(program.graph)
    routers = (s.router if isinstance(s, Residual) else None for s in program.graph.stages)
    return np.array([-1 if name is None else first[name] for name in routers], np.int64)


def _condition_table(program: Program) -> I64:
    """By condition, as named in hot.state."""
    graph = program.graph
    sizes = np.array([s.n for s in graph.stages if isinstance(s, Router)], np.int64)
    first = np.repeat(_offsets(sizes)[:-1], sizes)
    begins = dict(zip([lin.name for lin in graph.linears], _linear_offsets(program), strict=True))
    return _columns(
        first, first + np.repeat(sizes, sizes), [begins[name] for name in added_up(graph)]
    )


def _linear_offsets(program: Program) -> I64:
    """Where every linear's sums begin in the engine's stage_sums."""
    return _offsets(np.array([lin.n_post for lin in program.graph.linears], np.int64))[:-1]


def gathered(program: Program) -> I64:
    """Inputs of a tile: it keeps a count of each, per token."""
    t = program.tables
    return np.where(t.task_kind == TILE, t.task_n_pre, 0).astype(np.int64)


def header_bits(program: Program, message: str) -> int:
    """Fixed bits of a message: its header, and for a marker its whole payload."""
    form = program.chip.formats[message]
    return form.header_bits + (form.payload_bits if message == "marker" else 0)


def margin_of(program: Program) -> int:
    """Most messages a single event can create: an encoder with a spike per bit of every count; or,
    of a message that is taken in, most of its sinks."""
    t = program.tables
    bits = [31 if program.codings[s.name][0] == "bitwise" else 1 for s in program.graph.sites]
    spikes = int((t.task_channel_n * np.array([*bits, 0])[t.task_site]).max(initial=0))
    sends = int(np.diff(t.task_emit).max(initial=0))
    sinks = int(np.bincount(tree_of_sink(t)).max(initial=0))
    most = spikes + int(t.emit_n.max(initial=0)) * sends + sinks + 64
    return 2 * most if program.chip.bounded else most  # a link that is freed is an event, too


def fresh_state(program: Program, fixed: Fixed, first: int, trace: bool, in_flight: int) -> State:
    """Empty engine. `first` is the first token whose head runs (and what follows from it)."""
    ring = min(MOST_IN_FLIGHT, 1 << max(2, in_flight - 1).bit_length())
    t, graph = program.tables, program.graph
    slots = int(fixed.service[h.SLOTS])
    n_tasks = t.task_core.size
    room = 4 * margin_of(program)
    reg = np.zeros(h.N_REGISTERS, np.int64)
    reg[[h.R_FREE, h.R_FREE_VALUES, h.R_FREE_PARKED, h.R_FREE_WAITING]] = room
    bounded = fixed.bounded is not None
    reg[h.R_FREE_COPIES] = room if bounded else UNBOUNDED
    links = _zeros(t.link_kind.size, h.N_LINK_BOUNDED if bounded else h.N_LINK)
    links[:, [c for c in (h.B_FIRST, h.B_STARTED) if bounded]] = -1
    copies = _zeros(bounded * room, h.N_COPY)
    copies[:, h.Y_FREE] = np.arange(len(copies))
    gathers = t.task_gathers[t.task_gathers >= 0]
    stage_all = np.bincount(gathers, minlength=len(graph.stages)).astype(np.int64)
    stage_all[[isinstance(stage, Population) for stage in graph.stages]] = 1
    progress = _zeros(n_tasks, h.N_PROGRESS)
    progress[:, h.LAST_AXON] = -1
    progress[:, h.SYMBOL] = reg[h.R_STEPS] = 0 if fixed.service[h.BARRIER_PS] else h.ALL
    progress[_after_head(program), h.NEXT] = progress[_after_head(program), h.DONE] = first
    groups = fixed.task[:, h.GROUPS]
    array = program.chip.array
    widest = int(t.task_neuron_n.max(initial=1))
    beside = scratch_size(widest) if array is None else (2 + array.columns_per_weight) * widest
    n_home = int((slots * t.task_rows * t.task_neuron_n)[t.task_kind == VECTOR].sum())
    valued = bool(fixed.service[h.VALUES])
    tiles, closed = t.task_kind == TILE, valued * max(MOST_CLOSED, slots)
    n_sums = int(slots * gathered(program).sum())
    return State(
        reg=reg,
        heap=_zeros(room, 3),
        waiting=_zeros(room, h.N_WAITING),
        waiting_free=np.arange(room),
        wave=_zeros(room, h.N_WAVE),
        due=_zeros(room, 2),
        link=links,
        core=_zeros(program.host_core + 1, h.N_CORE_BOUNDED if bounded else h.N_CORE),
        message=_zeros(room, h.N_MESSAGE),
        message_free=np.arange(room),
        values=_zeros(room, valued * int(fixed.message[h.PARTIAL, h.PER_MESSAGE])),
        values_free=np.arange(room),
        parked=_zeros(room, 3),
        parked_free=np.arange(room),
        queue=np.full((n_tasks, h.PARK, 2), -1, np.int64),
        progress=progress,
        got=_zeros(n_tasks, slots),
        inputs=np.zeros(n_sums if valued or array else 0, np.int32),
        bound=_zeros(valued * int((slots * groups).sum())),
        home=_zeros(valued * n_home),
        row_sums=_zeros(widest + beside),
        received=_zeros(t.sink_core.size, slots),
        sent=_zeros(t.emit_tree.size),
        stage_sums=_zeros(ring, valued * sum(lin.n_post for lin in graph.linears)),
        counts=np.zeros((ring, sum(s.n for s in graph.sites)), np.int32),
        stage_left=np.repeat(stage_all[:, None], ring, 1),
        stage_token=np.full((len(graph.stages), ring), -1, np.int64),
        stage_all=stage_all,
        site_first=np.array([first * (s.name == head_site(program)) for s in graph.sites]),
        turn=np.full((fixed.condition.shape[0], ring), -1, np.int64),
        token_at=_zeros(fixed.condition.shape[0], ring),
        turns=_zeros(fixed.condition.shape[0]),
        ready=_zeros(n_tasks + 8, 5),
        tree_sent=_zeros(t.tree_root.size, len(MESSAGES)),
        sink_got=_zeros(t.sink_core.size, len(MESSAGES)),
        lazy=_zeros(len(graph.stages), h.N_LAZY),
        copies=copies,
        closed=_zeros(closed, h.N_CLOSED),
        closed_counts=np.zeros((closed, int(t.task_n_pre[tiles].max(initial=1))), np.int32),
        owed=_zeros(room),
        trace=_zeros(max(TRACE_ROWS, 4 * margin_of(program)) if trace else 0, 8),
    )


def _zeros(*shape: int) -> I64:
    return np.zeros(shape, np.int64)


def head_site(program: Program) -> str:
    """The site that drives the head; the head of a prompt runs for its last token only."""
    return program.graph.linear(str(program.graph.stages[-1].linear)).site


def _after_head(program: Program) -> NDArray[np.bool_]:
    """Tasks that only see tokens whose head runs: the head's tiles, logits, the host's inbox."""
    t, graph = program.tables, program.graph
    logits = graph.stages[-1]
    wanted = {program.ops.index(logits.name), program.ops.index(str(logits.linear))}
    inbox = np.zeros(t.task_core.size, bool)
    inbox[program.task_names.index("host.logits")] = True
    return np.isin(t.task_op, list(wanted)) | inbox


def choose(state: State, first: int, chosen: Sequence[int], token: int) -> None:
    """A router has chosen experts: it is their next turn. first: condition of its expert 0."""
    for expert in chosen:
        turn = state.turns[first + expert]
        state.turn[first + expert, token] = turn
        state.token_at[first + expert, turn] = token
        state.turns[first + expert] += 1

"""What the engine reads (Chip tables) and changes (State): tuples of arrays, nothing else."""

from typing import NamedTuple

import numpy as np

# kinds of events, in the top bits of `what`
HOP, ARRIVE, RELEASE = 0, 1, 2
KIND_SHIFT, INDEX_SHIFT = 60, 30
MASK = (1 << 30) - 1

# reasons to return from the event loop
EMPTY, READY, GROW, ERROR, PAUSE, TRACE_FULL = 0, 1, 2, 3, 4, 5

# errors: code, then four numbers (task, token, core or sink, detail)
(
    E_NONE,
    E_LOST_SPIKES,  # marker announces another number than arrived
    E_NO_AXON,
    E_NO_NEURON,
    E_LATE,  # for a token that has fired already
    E_TOO_MANY,  # more inputs than the task awaits
    E_ACCUMULATOR,
    E_PARTIAL,
    E_RING,
) = range(9)

# registers: scalars of the engine in one int64 array
(
    R_HEAP,  # events in the heap
    R_FREE,  # free message records
    R_READY,  # entries in the ready queue
    R_NOW,
    R_EVENTS,
    R_HEAP_HIGH,
    R_FREE_VALUES,
    R_TRACE,
    R_ERROR,
    R_E1,
    R_E2,
    R_E3,
    R_E4,
    R_FREE_PARKED,
) = range(14)
N_REGISTERS = 14

# columns of the trace buffer
TRACE_COLUMNS = ("time_ps", "duration_ps", "event", "place", "task", "token", "message", "count")
T_INJECT, T_SERVE, T_FIRE = 0, 1, 2


class Fixed(NamedTuple):
    """Program and timing; never written. Index spaces: task, tree, node, sink, link, linear, site."""

    task_core: np.ndarray
    task_kind: np.ndarray
    task_need: np.ndarray
    task_extra: np.ndarray
    task_period: np.ndarray
    task_residue: np.ndarray
    task_window: np.ndarray
    task_ps: np.ndarray
    task_ring_ps: np.ndarray
    task_gathers: np.ndarray
    task_linear: np.ndarray
    task_neuron_lo: np.ndarray
    task_neuron_n: np.ndarray
    task_n_pre: np.ndarray
    task_site: np.ndarray
    task_emit: np.ndarray
    emit_tree: np.ndarray
    emit_class: np.ndarray
    emit_lo: np.ndarray
    emit_n: np.ndarray
    emit_residue: np.ndarray
    tree_root: np.ndarray
    tree_source: np.ndarray
    tree_first_local: np.ndarray
    tree_last_local: np.ndarray
    tree_fan_out: np.ndarray  # sinks per tree, local ones included
    node_link: np.ndarray
    node_first_child: np.ndarray
    node_last_child: np.ndarray
    node_first_sink: np.ndarray
    node_last_sink: np.ndarray
    sink_core: np.ndarray
    sink_task: np.ndarray
    sink_base: np.ndarray
    link_kind: np.ndarray
    flit_bits: np.ndarray  # [6] by link kind
    flit_ps: np.ndarray
    hop_ps: np.ndarray
    site_coding: np.ndarray  # kernels.coding codes
    site_bits: np.ndarray  # bits of a spike message
    site_offset: np.ndarray  # into the columns of `counts`
    linear_bits: np.ndarray  # width of a partial sum
    linear_offset: np.ndarray  # into the columns of `stage_sums`
    message_bits: np.ndarray  # [4] header bits by class; marker: the whole message
    message_values: np.ndarray  # [4] values per message by class
    value_bits: np.ndarray  # [1] bits of one value
    service: np.ndarray  # axon, row, synop, partial, value ps, lanes, row_buffer
    weight: np.ndarray  # int8, axon-major per tile
    weight_offset: np.ndarray
    mantissa: np.ndarray  # int64, [group, neuron] per tile
    mantissa_offset: np.ndarray
    sums_offset: np.ndarray  # into accumulators (tile) or home sums (vector)
    bound_offset: np.ndarray
    slots: np.ndarray  # [1]


class State(NamedTuple):
    """Everything the engine changes."""

    reg: np.ndarray  # int64[N_REGISTERS]
    heap_time: np.ndarray
    heap_tie: np.ndarray
    heap_what: np.ndarray
    link_free: np.ndarray  # ps
    link_flits: np.ndarray
    core_free: np.ndarray  # ps
    core_busy: np.ndarray  # ps
    core_seq: np.ndarray
    # message records and their values
    m_tree: np.ndarray
    m_class: np.ndarray
    m_token: np.ndarray
    m_bits: np.ndarray
    m_times: np.ndarray  # multiplicity of a burst
    m_index: np.ndarray  # channel or neuron
    m_value: np.ndarray  # payload, number of values, or spikes announced
    m_refs: np.ndarray
    m_tie: np.ndarray
    m_store: np.ndarray  # row of `values`, or -1
    m_free: np.ndarray
    values: np.ndarray  # int64[rows, values per message]
    values_free: np.ndarray
    # tasks
    got: np.ndarray  # [task, slot]
    next_fire: np.ndarray
    done: np.ndarray
    park_first: np.ndarray  # [task, PARK] lists of parked entries by token % PARK, -1: empty
    park_last: np.ndarray
    p_message: np.ndarray
    p_sink: np.ndarray
    p_next: np.ndarray
    p_free: np.ndarray
    last_axon: np.ndarray
    accumulator: np.ndarray  # int32
    bound: np.ndarray  # int64 [task, slot, group]: sum of |payload| * 127
    home: np.ndarray  # int64 sums
    row_sums: np.ndarray  # int64 scratch for one tile's P
    received: np.ndarray  # [sink, slot]
    # stages
    stage_sums: np.ndarray  # int64[ring, neurons of all linears]
    counts: np.ndarray  # int32[ring, channels of all sites]
    stage_left: np.ndarray  # [stage, ring] gathers still missing
    stage_token: np.ndarray  # [stage, ring]
    stage_all: np.ndarray  # [stage]
    site_first: np.ndarray  # first token a site sends
    ready: np.ndarray  # [n, 4]: (0, stage, token, ps) or (1, host task, token, ps)
    # counters
    tree_sent: np.ndarray  # [tree, class] messages, bursts by multiplicity
    sink_got: np.ndarray  # [sink, class]
    task_rows: np.ndarray
    task_fired: np.ndarray
    task_ring: np.ndarray
    trace: np.ndarray  # int64[rows, 8]; zero rows: no trace


PARK = 64

"""What the engine reads (Fixed) and changes (State): tuples of int64 tables, nothing else.

Tables keep the columns of one thing side by side: one cache line per event, and few
arguments for the compiler. The constants below name the columns.
"""

from typing import NamedTuple

import numpy as np

# what the engine asks Python for: to compute a stage, to take the logits at the host
STAGE, LOGITS = 0, 1

# kinds of events, in the top bits of an event's `what`; below them an index and a message
HOP, ARRIVE, RELEASE, TURN = 0, 1, 2, 3
JOIN, STAND, FREED, SERVED = 4, 5, 6, 7  # where buffers are finite (buffers.py)
LOCAL = 8  # as ARRIVE, of a core's own stream of events
KIND_SHIFT, INDEX_SHIFT = 58, 29
MASK = (1 << 29) - 1

LATER = 1 << 62
"""Time of events that wait for the next step, under barrier sync."""

# classes of messages and kinds of tasks, as in compiler.program
SPIKE, PARTIAL, VALUE, MARKER = 0, 1, 2, 3
TILE, VECTOR, HOST = 0, 1, 2

# reasons to return from the event loop
EMPTY, READY, GROW, ERROR, PAUSE, TRACE_FULL, WAVE, STUCK, SUMS = range(9)

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
    E_NOT_CHOSEN,  # for a token whose router chose other experts
) = range(10)

# registers: scalars of the engine in one int64 array
(
    R_HEAP,  # events in the heap
    R_FREE,  # free message records
    R_READY,  # entries in the ready queue
    R_NOW,
    R_EVENTS,
    R_EVENTS_HIGH,  # most events in the heap and in line
    R_FREE_VALUES,
    R_TRACE,
    R_FREE_PARKED,
    R_ERROR,
    R_E1,
    R_E2,
    R_E3,
    R_E4,
    R_STARTED,  # tokens the host was told to start
    R_STEPS,  # barriers that have fallen; -1 under dataflow
    R_WAVE,  # messages sent in this step (State.wave)
    R_DUE,  # messages sent in the step before (State.due), those of them taken in, and when
    R_TAKEN,
    R_DUE_PS,
    R_QUIET,  # when all links used so far are free and no message is on its way over them
    R_HOLE,  # 1: the heap's first event has been taken (hot.queue)
    R_LINED,  # events in State.waiting
    R_FREE_WAITING,
    R_SINK,  # sinks that are to take message R_TAKEN_IN now, before anything else
    R_LAST_SINK,
    R_TAKEN_IN,
    R_FREE_COPIES,
    R_OFFSET,  # of a token, to its position in the text: KV rings go by positions
    R_CLOSED,  # tiles that have closed without being summed yet, the messages that await their
    R_OWED,  # sums, and their synapses
    R_SYNAPSES,
) = range(32)
N_REGISTERS = 32

# columns of Fixed.task
(
    CORE,
    KIND,
    NEED,
    EXTRA,
    PERIOD,
    RESIDUE,
    WINDOW,
    PS,
    RING_PS,
    GATHERS,
    LINEAR,
    NEURON_LO,
    NEURON_N,
    N_PRE,
    GROUPS,
    SITE,
    EMIT,
    EMIT_END,
    WEIGHT,  # offsets: into weight, mantissa, inputs or home, bound
    MANTISSA,
    SUMS,
    BOUND,
    CONDITION,  # -1: fires for every token
    SETS,  # sums per neuron: of every token, and of each chosen expert
    EXPERTS,  # first condition of the router whose experts it adds up, or -1
    LIST,  # where its inputs' lists begin in Fixed.list_first; -1: every pair is stored, int8
) = range(26)
N_TASK = 26

E_TREE, E_CLASS, E_LO, E_N, E_RESIDUE, E_CONDITION = range(6)  # Fixed.emit
# Fixed.tree: fan-out with local sinks; where its sinks, rising, begin in Fixed.tree_sinks
ROOT, SOURCE, FIRST_LOCAL, LAST_LOCAL, FAN_OUT, T_CONDITION, SINKS = range(7)
# Fixed.condition: those of its router, from the first one on; where in stage_sums its home adds up
ROUTER_FIRST, ROUTER_END, ADDED = range(3)
LINK, FIRST_CHILD, LAST_CHILD, FIRST_SINK, LAST_SINK = range(5)  # Fixed.node
S_CORE, S_TASK, S_BASE = range(3)  # Fixed.sink
FLIT_BITS, FLIT_PS, HOP_PS, ROOM = range(4)  # Fixed.wire, by kind of link; room in flits
CODING, BITS, OFFSET = range(3)  # Fixed.site (bits of a spike message, offset into counts)
L_BITS, L_OFFSET, L_CODING = range(3)  # Fixed.linear (width of a sum, offset in stage_sums, coding)
U_CORE, U_PS = range(2)  # Fixed.used_core
HEADER, PER_MESSAGE = range(2)  # Fixed.message (a marker's header is the whole message)
(
    AXON_PS,
    ROW_PS,
    SYNOP_PS,
    PARTIAL_PS,
    VALUE_PS,
    LANES,
    ROW_BUFFER,
    SLOTS,
    VALUE_BITS,
    BARRIER_PS,  # 0: dataflow
    VALUES,  # 0: spikes are counted and timed, sums are not formed
    WAVES,  # 1: messages of a step go over the links together (hot.noc), not by the heap
    TOGETHER,  # synapses of closed tiles that are worth a call of several threads
    STREAMS,  # 1: events of a link or core wait in line (hot.queue); 0: all are in the heap
) = range(14)  # Fixed.service

# Fixed.array: a crossbar's constants; no entries where cores add spike by spike
(
    A_ROWS,
    A_AT_ONCE,  # rows driven in one step
    A_NEURONS,  # side by side in one array
    A_COLUMNS,  # per weight
    A_BITS,  # of a cell
    A_PAIRS,
    A_DAC_BITS,
    A_LARGEST,  # code of the converters
    A_ADC_STEP,
    A_STEP_PS,
    A_FLIPS,  # where flips begin in Fixed.cell
) = range(11)

# columns of State tables
# link: ps when free, flits carried, last event of its stream, and where buffers are finite:
FREE, FLITS, LAST = range(3)
(
    B_FIRST,  # copies that wait for it, in order; -1: none
    B_LAST,
    B_BUSY,  # 1: a message is being taken over it
    B_STARTED,  # when one was last
    B_HELD,  # flits in the buffer at its end, of messages on their way into it too
    B_HIGH,
    B_STALLED,  # ps that a message waited for room and nothing else
    B_WAITING,  # messages that wait for it
    B_MOST_WAITING,
) = range(3, 12)
N_LINK, N_LINK_BOUNDED = 3, 12
W_TIME, W_TIE, W_NODE, W_MESSAGE = range(4)  # wave: when it stands at node (-1: no links)
N_WAVE = 4
# core: ps when free, ps busy, messages and releases so far, last event of its stream
C_FREE, BUSY, SEQ, C_LAST = range(4)
IN_LINE, MOST_IN_LINE = 4, 5  # where buffers are finite: messages that it is not done with
N_CORE, N_CORE_BOUNDED = 4, 6
IDLE, ALONE, LINED = 0, 1, 2  # last of a stream: none, it is in the heap, entry of `waiting` + 2
Q_TIME, Q_TIE, Q_WHAT, Q_NEXT = range(4)  # waiting: behind a stream's last comes its first again
N_WAITING = 4
(
    M_TREE,
    M_CLASS,
    M_TOKEN,
    M_BITS,
    M_TIMES,  # multiplicity of a burst
    M_INDEX,  # channel or neuron
    M_VALUE,  # payload, number of values, or spikes announced
    M_REFS,  # sinks still to be reached
    M_TIE,
    M_STORE,  # row of `values`, or -1
) = range(10)
N_MESSAGE = 10
(
    NEXT,
    DONE,
    LAST_AXON,
    ROWS,
    FIRED,
    RING,
    DRIVEN,  # of a crossbar tile: rows driven, arrays read, columns converted and clipped
    READS,
    CONVERTED,
    CLIPPED,
    SYMBOL,  # which one of its trains leaves in its next turn
    SYNOPS,  # of lists
) = range(12)  # progress of a task, and its counts
N_PROGRESS = 12
# State.lazy, by stage, as in compiler.lazy_decay
UNTOUCHED, FETCHED, NO_KEY, NO_QUERY = range(4)
N_LAZY = 4
ALL = -1  # SYMBOL under dataflow: a train leaves at once
# closed tile: its messages are owed[C_OWED:C_OWED_END]; the first neuron beyond the width of
# sums (or -1), and its sum
C_TASK, C_TOKEN, C_OWED, C_OWED_END, C_TOO_WIDE, C_SUM = range(6)
N_CLOSED = 6

# State.copies: a message at a node of its tree, from when it waits for the node's link to when it
# leaves the buffer behind it
(
    Y_MESSAGE,
    Y_NODE,
    Y_ABOVE,  # the copy it was made of, which stands in the buffer before; -1 at the source
    Y_NEXT,  # behind it in the same queue
    Y_LEFT,  # copies to be made of it that have not gone yet
    Y_SINCE,  # when it came
    Y_FLITS,  # that it takes in the buffer
    Y_TASK,  # that sends it
    Y_FREE,  # of the first R_FREE_COPIES rows: a free row
) = range(9)
N_COPY = 9

# columns of the trace buffer
TRACE_COLUMNS = ("time_ps", "duration_ps", "event", "place", "task", "token", "message", "count")
T_INJECT, T_SERVE, T_FIRE = 0, 1, 2

ZERO, ONE, NONE = 0, 1, -1
"""As arguments: numba compiles a function once more for every literal it is called with."""

PARK = 64
"""Side queues per task, by token modulo this."""


class Fixed(NamedTuple):
    """Program and timing; never written."""

    task: np.ndarray
    emit: np.ndarray
    tree: np.ndarray
    tree_sinks: np.ndarray  # sinks, tree by tree
    node: np.ndarray
    sink: np.ndarray
    link_kind: np.ndarray
    wire: np.ndarray
    site: np.ndarray
    linear: np.ndarray
    message: np.ndarray
    service: np.ndarray
    used_core: np.ndarray  # those with tasks, and what their neurons take in every step
    weight: np.ndarray  # int8, axon-major per tile
    mantissa: np.ndarray  # int16, [group, neuron] per tile
    list_first: np.ndarray  # int64, per tile [axon + 1]: its synapses, in the arrays beside
    list_neuron: np.ndarray  # uint16, of the tile's neurons
    list_value: np.ndarray  # int32: mantissa * weight
    condition: np.ndarray
    array: np.ndarray
    # uint16, of a crossbar: levels in 1/256 [axon, column, neuron] per tile, then flips 0 or 1
    # [row block, column, neuron] per tile
    cell: np.ndarray
    # 1: some link has a finite buffer (hot.buffers). None is known when kernels are compiled: they
    # are another machine code then, which has nothing of it
    bounded: int | None


class State(NamedTuple):
    """Everything the engine changes."""

    reg: np.ndarray
    heap: np.ndarray  # [room, 3]
    waiting: np.ndarray  # [room, N_WAITING] events behind another of their stream
    waiting_free: np.ndarray
    wave: np.ndarray  # [room, N_WAVE] messages sent in this step
    due: np.ndarray  # [room, 2]: tie, message: sent in the step before, in order
    link: np.ndarray
    core: np.ndarray
    message: np.ndarray
    message_free: np.ndarray
    values: np.ndarray  # [room, values per message]
    values_free: np.ndarray
    parked: np.ndarray  # [room, 3]: message, sink, next
    parked_free: np.ndarray
    queue: np.ndarray  # [task, PARK, 2]: first and last parked entry, -1 for none
    progress: np.ndarray  # [task, 12]
    got: np.ndarray  # [task, slot]
    inputs: np.ndarray  # int32, per tile [slot, axon]: sum of the payloads that came
    bound: np.ndarray  # sum of |payload| * 127 per accumulator group: what it could hold
    home: np.ndarray  # sums at home tasks
    row_sums: np.ndarray  # scratch: one tile's P, and what forms it (rows.py, crossbar.py)
    received: np.ndarray  # [sink, slot] spikes since the last marker
    sent: np.ndarray  # [emit] spikes of a train under way; -1: its marker has left
    stage_sums: np.ndarray  # [ring, neurons of all linears]
    counts: np.ndarray  # int32[ring, channels of all sites]
    stage_left: np.ndarray  # [stage, ring] gathers still missing
    stage_token: np.ndarray  # [stage, ring]
    stage_all: np.ndarray  # [stage] gathers until it is computed; 1 where each task is, by itself
    site_first: np.ndarray  # [site] first token it sends
    # tasks under a condition count the tokens for which it holds: these are their turns
    turn: np.ndarray  # [condition, token], -1: it does not hold
    token_at: np.ndarray  # [condition, turn]
    turns: np.ndarray  # [condition] so far
    ready: np.ndarray  # [n, 5]: (0, stage, token, ps, last task) or (1, host task, token, ps, same)
    tree_sent: np.ndarray  # [tree, class] messages, bursts by multiplicity
    sink_got: np.ndarray  # [sink, class]
    lazy: np.ndarray  # [stage, N_LAZY]
    copies: np.ndarray  # [room, N_COPY]; no rows where buffers are without an end
    # empty wherever a run is kept: they hold what is put off (hot.closed), and events to be told
    closed: np.ndarray  # [most, N_CLOSED] tiles that have closed, as they closed
    closed_counts: np.ndarray  # int32[most, axons]
    owed: np.ndarray  # [room] messages that await sums
    trace: np.ndarray  # [rows, 8]; no rows: no trace

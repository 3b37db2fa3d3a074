"""From the engine's raw counts to {operation: {event kind: count}} (DESIGN 3.5).

The engine counts what happened: messages per tree, deliveries per sink, firings per
task. Everything else follows from the program: what a firing costs in vector work,
how many links of which kind a tree crosses, how many synapses a delivered spike meets.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import node_of_sink, parent_of_node, tree_of_node, tree_of_sink
from compiler.program import MARKER, PARTIAL, SPIKE, TILE, VALUE, Program
from hw_models.errors import Bug
from hw_models.events import KINDS, LINKS, MESSAGES
from kernels.coding import CODINGS
from simulator.hot.state import (
    CONVERTED,
    DRIVEN,
    FIRED,
    FLITS,
    R_STEPS,
    READS,
    RING,
    ROWS,
    State,
)

Counts = dict[str, dict[str, int]]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Raw counts of the engine at one moment."""

    tree_sent: I64  # [tree, class]
    sink_got: I64  # [sink, class]
    task_rows: I64
    task_fired: I64
    task_ring: I64
    task_driven: I64  # of crossbar tiles
    task_reads: I64
    task_converted: I64
    task_updates: I64  # of its neurons: once per token, or (barrier) per step

    @classmethod
    def of(cls, state: State) -> "Snapshot":
        of_tasks = (ROWS, FIRED, RING, DRIVEN, READS, CONVERTED)
        columns = [state.progress[:, c].copy() for c in of_tasks]
        steps = int(state.reg[R_STEPS])
        fired = columns[1]
        updates = fired if steps < 0 else np.full_like(fired, steps)
        return cls(state.tree_sent.copy(), state.sink_got.copy(), *columns, updates)

    def since(self, before: "Snapshot") -> "Snapshot":
        return Snapshot(*(getattr(self, f) - getattr(before, f) for f in Snapshot.__slots__))


@dataclass(frozen=True, slots=True)
class TreeFacts:
    """What a program fixes about its trees.

    links[tree, link kind]; fan_out[tree] remote sinks; tree_of_sink[sink], -1 for local ones;
    message[tree] class; n[tree] channels, neurons or values it carries per firing
    """

    links: I64
    fan_out: I64
    tree_of_sink: I64
    message: I64
    n: I64


def tree_facts(program: Program) -> TreeFacts:
    """Links, sinks and contents of every tree."""
    t = program.tables
    n_trees = t.tree_root.size
    tree = tree_of_node(t, parent_of_node(t))
    links = np.zeros((n_trees, len(LINKS)), np.int64)
    np.add.at(links, (tree, t.link_kind[t.node_link]), 1)
    owner = np.where(node_of_sink(t) >= 0, tree_of_sink(t), -1)
    fan_out = np.bincount(owner[owner >= 0], minlength=n_trees).astype(np.int64)
    message, n = np.zeros(n_trees, np.int64), np.zeros(n_trees, np.int64)
    message[t.emit_tree], n[t.emit_tree] = t.emit_class, t.emit_n
    return TreeFacts(links, fan_out, owner, message, n)


def tree_traffic(program: Program, facts: TreeFacts, seen: Snapshot) -> tuple[I64, I64]:
    """(flits[tree, link kind] over all its links, bits[tree] sent once)."""
    flit_bits = np.array([program.chip.links[k].flit_bits for k in LINKS], np.int64)
    bits = np.zeros(facts.n.size, np.int64)
    flits = np.zeros_like(facts.links)
    for size, number in _messages(program, facts, seen):
        bits += size * number
        flits += -(-size[:, None] // flit_bits) * number[:, None] * facts.links
    return flits, bits


def _messages(program: Program, facts: TreeFacts, seen: Snapshot) -> list[tuple[I64, I64]]:
    """(bits per message, messages) per tree: spikes, markers, full and last messages of sums
    and values."""
    t, formats = program.tables, program.chip.formats
    sites, linears = program.graph.sites, program.graph.linears
    header = formats["spike"].header_bits
    spike_bits = np.array([header + program.codings[s.name][1] for s in sites])
    width = np.array([program.partial_bits[lin.name] for lin in linears], np.int64)
    source = t.tree_task
    spikes = np.where(facts.message == SPIKE, spike_bits[t.task_site[source]], 0)
    marker = formats["marker"].header_bits + formats["marker"].payload_bits
    found = [
        (spikes, seen.tree_sent[:, SPIKE]),
        (np.full_like(spikes, marker), seen.tree_sent[:, MARKER]),
    ]
    for code, each in (
        (PARTIAL, width[t.task_linear[source]]),
        (VALUE, np.full(source.size, formats["value"].payload_bits, np.int64)),
    ):
        form = formats[MESSAGES[code]]
        per = form.values_per_message
        mine = facts.message == code
        n = np.where(mine, facts.n, per)
        per_firing = -(-n // per)
        firings = np.where(mine, seen.tree_sent[:, code] // per_firing, 0)
        found.append((form.header_bits + per * each, firings * (per_firing - 1)))
        found.append((form.header_bits + (n - per * (per_firing - 1)) * each, firings))
    return found


def counters(program: Program, facts: TreeFacts, seen: Snapshot) -> Counts:
    """All event counts per operation, keys sorted, zeros left out."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    t, ops = program.tables, program.ops

    def add(op: int, kind: str, n: int) -> None:
        if n:
            found[ops[op]][kind] += int(n)

    source_op = t.task_op[t.tree_task]
    flits, bits = tree_traffic(program, facts, seen)
    for tree, op in enumerate(source_op):
        for code, name in enumerate(MESSAGES):
            add(op, f"msg_{name}", seen.tree_sent[tree, code])
        for kind, name in enumerate(LINKS):
            if name == "host":
                add(op, "host_bit", bits[tree] * facts.links[tree, kind])
            else:
                add(op, f"flit_{name}", flits[tree, kind])
    kinds = list(KINDS)
    for sink, tree in enumerate(facts.tree_of_sink):
        for code, name in enumerate(MESSAGES):
            if tree >= 0:
                add(source_op[tree], f"delivered_{name}", seen.sink_got[sink, code])
        task = int(t.sink_task[sink])
        if t.task_kind[task] == TILE:
            spikes = int(seen.sink_got[sink, SPIKE])
            linear = program.graph.linears[t.task_linear[task]]
            synop = CODINGS[program.codings[linear.site][0]].synop
            if program.chip.array is None:
                add(t.task_op[task], synop, spikes * int(t.task_neuron_n[task]))
            add(t.task_op[task], "axon_lookup", spikes + int(seen.sink_got[sink, MARKER]))
    for task, rows in enumerate(seen.task_rows):
        add(t.task_op[task], "weight_fetch", rows * t.task_neuron_n[task])
    for task in np.flatnonzero(seen.task_reads):
        add(t.task_op[task], "row_drive", seen.task_driven[task])
        add(t.task_op[task], "array_read", seen.task_reads[task])
        for kind in ("adc_convert", "shift_add"):  # every code is shifted and added
            add(t.task_op[task], kind, seen.task_converted[task])
    for emit in range(t.emit_tree.size):
        if t.emit_class[emit] == PARTIAL:
            tree = int(t.emit_tree[emit])
            home = _only_sink(program, tree)
            fired = seen.task_fired[t.tree_task[tree]]
            add(t.task_op[home], "partial_add", t.emit_n[emit] * fired)
    for row in range(t.work_task.size):
        task = t.work_task[row]
        kind = kinds[t.work_kind[row]]
        times = seen.task_ring if t.work_ring[row] else seen.task_fired
        if kind == "neuron_update":
            times = seen.task_updates
        add(t.task_op[task], kind, t.work_count[row] * times[task])
    return {op: dict(sorted(found[op].items())) for op in sorted(found)}


def _only_sink(program: Program, tree: int) -> int:
    """Sink task of a unicast tree."""
    t = program.tables
    if t.tree_first_local[tree] < t.tree_last_local[tree]:
        return int(t.sink_task[t.tree_first_local[tree]])
    node = int(t.tree_root[tree])
    while t.node_first_child[node] < t.node_last_child[node]:
        node = int(t.node_first_child[node])
    return int(t.sink_task[t.node_first_sink[node]])


def check_conservation(program: Program, facts: TreeFacts, state: State) -> None:
    """Sent x fan-out = delivered per tree and class, and the links carried what was sent.

    The engine counts deliveries and link flits on their own; raises Bug when they differ.
    """
    seen = Snapshot.of(state)
    delivered = np.zeros_like(seen.tree_sent)
    remote = facts.tree_of_sink >= 0
    np.add.at(delivered, facts.tree_of_sink[remote], seen.sink_got[remote])
    wrong = np.argwhere(delivered != seen.tree_sent * facts.fan_out[:, None])
    if wrong.size:
        tree, code = map(int, wrong[0])
        raise Bug(
            f"{int(seen.tree_sent[tree, code])} {MESSAGES[code]} messages sent to "
            f"{int(facts.fan_out[tree])} cores, {int(delivered[tree, code])} delivered",
            where=f"tree {tree} of {program.task_names[program.tables.tree_task[tree]]}",
        )
    flits, _ = tree_traffic(program, facts, seen)
    kinds = program.tables.link_kind
    for kind, name in enumerate(LINKS):
        carried = int(state.link[kinds == kind, FLITS].sum())
        if carried != int(flits[:, kind].sum()):
            raise Bug(f"{name} links carried {carried} flits, {int(flits[:, kind].sum())} sent")

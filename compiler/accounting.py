"""From raw counts to {operation: {event kind: count}} (DESIGN 3.5).

What happened is counted by the engine, or expected (compiler.expected): messages per tree,
deliveries per sink, firings per task, rows of linear attention that nothing touched. Everything
else follows from the program: what a firing costs in vector work, how many links of which kind a
tree crosses, how many synapses a delivered spike meets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import node_of_sink, parent_of_node, tree_of_node, tree_of_sink
from compiler.lazy_decay import spared
from compiler.program import MARKER, PARTIAL, SPIKE, TILE, VALUE, Program
from hw_models.events import KINDS, LINKS, MESSAGES
from kernels.coding import CODINGS

Counts = dict[str, dict[str, int]]
I64 = NDArray[np.int64]

_COLUMN = {kind: i for i, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Raw counts at one moment, int64."""

    tree_sent: I64  # [tree, class]
    sink_got: I64  # [sink, class]
    task_rows: I64
    task_fired: I64
    task_ring: I64
    task_driven: I64  # of crossbar tiles
    task_reads: I64
    task_converted: I64
    task_updates: I64  # of its neurons: once per token, or (barrier) per step
    task_synops: I64  # of tiles that are not plain: their rows are of several lengths
    lazy: I64  # [stage, 4], see compiler.lazy_decay

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
    bits = np.zeros(facts.n.size, np.int64)
    for size, number in _messages(program, facts, seen):
        bits += size * number
    return flits_per_link(program, facts, seen) * facts.links, bits


def flits_per_link(program: Program, facts: TreeFacts, seen: Snapshot) -> I64:
    """[tree, link kind]: flits on each one of its links of a kind."""
    flit_bits = np.array([program.chip.links[k].flit_bits for k in LINKS], np.int64)
    flits = np.zeros_like(facts.links)
    for size, number in _messages(program, facts, seen):
        flits += -(-size[:, None] // flit_bits) * number[:, None]
    return flits


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
    t = program.tables
    found = np.zeros((len(program.ops), len(KINDS)), np.int64)

    def add(op: NDArray[np.integer], kind: str | I64, n: NDArray[np.integer]) -> None:
        column = np.full(op.shape, _COLUMN[kind]) if isinstance(kind, str) else kind
        np.add.at(found, (op, column), n)

    source = t.task_op[t.tree_task]
    flits, bits = tree_traffic(program, facts, seen)
    for code, name in enumerate(MESSAGES):
        add(source, f"msg_{name}", seen.tree_sent[:, code])
        remote = facts.tree_of_sink >= 0
        got = seen.sink_got[remote, code]
        add(source[facts.tree_of_sink[remote]], f"delivered_{name}", got)
    for link, name in enumerate(LINKS):
        if name == "host":
            add(source, "host_bit", bits * facts.links[:, link])
        else:
            add(source, f"flit_{name}", flits[:, link])

    fed = np.flatnonzero(t.task_kind[t.sink_task] == TILE)
    tile = t.sink_task[fed]
    spikes, markers = seen.sink_got[fed, SPIKE], seen.sink_got[fed, MARKER]
    add(t.task_op[tile], "axon_lookup", spikes + markers)
    plain = plain_tasks(program)
    of_lists = seen.task_synops * ((t.task_kind == TILE) & ~plain)
    if program.chip.array is None:
        synop = [CODINGS[program.codings[lin.site][0]].synop for lin in program.graph.linears]
        kind = np.array([_COLUMN[name] for name in synop])[t.task_linear]
        add(t.task_op[tile], kind[tile], spikes * t.task_neuron_n[tile] * plain[tile])
        add(t.task_op, kind, of_lists)
    own = (t.task_kind != TILE) | plain
    add(t.task_op, "weight_fetch", seen.task_rows * t.task_neuron_n * own)
    add(t.task_op, "weight_fetch", of_lists)  # a spike fetches what it meets
    add(t.task_op, "row_drive", seen.task_driven)
    add(t.task_op, "array_read", seen.task_reads)
    for name in ("adc_convert", "shift_add"):  # every code is shifted and added
        add(t.task_op, name, seen.task_converted)

    sums = np.flatnonzero(t.emit_class == PARTIAL)
    tree = t.emit_tree[sums]
    home = t.sink_task[_a_sink(program)[tree]]
    add(t.task_op[home], "partial_add", t.emit_n[sums] * seen.task_fired[t.tree_task[tree]])

    times = np.where(t.work_ring, seen.task_ring[t.work_task], seen.task_fired[t.work_task])
    update = t.work_kind == _COLUMN["neuron_update"]
    times = np.where(update, seen.task_updates[t.work_task], times)
    add(t.task_op[t.work_task], t.work_kind.astype(np.int64), t.work_count * times)

    for stage, event, more in spared(program, seen.lazy):
        found[program.ops.index(stage), _COLUMN[event]] += more

    names = list(KINDS)
    rows = {
        op: {names[i]: int(found[row, i]) for i in np.flatnonzero(found[row])}
        for row, op in enumerate(program.ops)
    }
    return {op: dict(sorted(rows[op].items())) for op in sorted(rows) if rows[op]}


def plain_tasks(program: Program) -> NDArray[np.bool_]:
    """Tiles of which a delivered spike meets every neuron."""
    plain = np.array([*(linear.plain for linear in program.graph.linears), False])
    found: NDArray[np.bool_] = plain[program.tables.task_linear]
    return found


def _a_sink(program: Program) -> I64:
    """A sink of every tree: the one of a tree with one."""
    found = np.full(program.tables.tree_root.size, -1, np.int64)
    tree = tree_of_sink(program.tables)
    found[tree] = np.arange(tree.size)
    return found

"""Counts per operation are those of going through every tree, sink, task and line of work."""

from collections import Counter

import numpy as np
import pytest

from compiler.accounting import Snapshot, counters, tree_facts, tree_traffic
from compiler.graph import Gla
from compiler.program import PARTIAL, SPIKE, TILE
from hw_models.events import KINDS, LINKS, MESSAGES
from kernels.coding import CODINGS
from tests.tiny import tiny


def one_by_one(program, facts, seen):
    """{(operation, kind): count}, in plain loops."""
    t, found, kinds = program.tables, Counter(), list(KINDS)
    op_of = [program.ops[i] for i in t.task_op]
    flits, bits = tree_traffic(program, facts, seen)
    for tree, task in enumerate(t.tree_task):
        for code, name in enumerate(MESSAGES):
            found[op_of[task], f"msg_{name}"] += seen.tree_sent[tree, code]
        for kind, name in enumerate(LINKS):
            if name == "host":
                found[op_of[task], "host_bit"] += bits[tree] * facts.links[tree, kind]
            else:
                found[op_of[task], f"flit_{name}"] += flits[tree, kind]
    for sink, tree in enumerate(facts.tree_of_sink):
        for code, name in enumerate(MESSAGES):
            if tree >= 0:
                source = op_of[t.tree_task[tree]]
                found[source, f"delivered_{name}"] += seen.sink_got[sink, code]
        task = t.sink_task[sink]
        if t.task_kind[task] == TILE:
            spikes, markers = (
                seen.sink_got[sink, SPIKE],
                seen.sink_got[sink, MESSAGES.index("marker")],
            )
            coding = program.codings[program.graph.linears[t.task_linear[task]].site][0]
            if program.chip.array is None:
                found[op_of[task], CODINGS[coding].synop] += spikes * t.task_neuron_n[task]
            found[op_of[task], "axon_lookup"] += spikes + markers
    for task, op in enumerate(op_of):
        found[op, "weight_fetch"] += seen.task_rows[task] * t.task_neuron_n[task]
        found[op, "row_drive"] += seen.task_driven[task]
        found[op, "array_read"] += seen.task_reads[task]
        found[op, "adc_convert"] += seen.task_converted[task]
        found[op, "shift_add"] += seen.task_converted[task]
    for emit in np.flatnonzero(t.emit_class == PARTIAL):
        tree = t.emit_tree[emit]
        found[op_of[only_sink(t, tree)], "partial_add"] += (
            t.emit_n[emit] * seen.task_fired[t.tree_task[tree]]
        )
    for row, task in enumerate(t.work_task):
        kind = kinds[t.work_kind[row]]
        times = seen.task_ring if t.work_ring[row] else seen.task_fired
        if kind == "neuron_update":
            times = seen.task_updates
        found[op_of[task], kind] += t.work_count[row] * times[task]
    for i, stage in enumerate(program.graph.stages):
        if isinstance(stage, Gla):
            untouched, fetched, no_key, no_query = seen.lazy[i]
            d, holders = stage.head_dim, sum(
                name.startswith(f"{stage.name}[head 0].part") for name in program.task_names
            )  # fmt: skip
            for _ in range(untouched):  # nothing but a decay that every core puts aside
                found[stage.name, "state_read"] -= 4 * d
                found[stage.name, "state_write"] += 4 * max(1, holders) - 4 * d
                found[stage.name, "vec_mul"] -= 3 * d  # decay, k v, q S
                found[stage.name, "vec_add"] -= 2 * d
            for _ in range(fetched):  # and taken later
                found[stage.name, "state_read"] += 4 * max(1, holders)
                found[stage.name, "vec_mul"] += d
            for _ in range(no_key + no_query):
                found[stage.name, "vec_mul"] -= d
                found[stage.name, "vec_add"] -= d
    return {key: int(n) for key, n in found.items() if n}


def only_sink(t, tree):
    if t.tree_first_local[tree] < t.tree_last_local[tree]:
        return t.sink_task[t.tree_first_local[tree]]
    node = t.tree_root[tree]
    while t.node_first_child[node] < t.node_last_child[node]:
        node = t.node_first_child[node]
    return t.sink_task[t.node_first_sink[node]]


def anything(program, seed):
    """A snapshot of numbers that mean nothing."""
    rng, t = np.random.default_rng(seed), program.tables
    n_tasks = t.task_core.size
    shapes = [(t.tree_root.size, len(MESSAGES)), (t.sink_core.size, len(MESSAGES))]
    shapes += [(n_tasks,)] * (len(Snapshot.__slots__) - 3)
    shapes += [(len(program.graph.stages), 4)]
    return Snapshot(*(rng.integers(0, 1000, shape) for shape in shapes))


@pytest.mark.parametrize("target", ["toy", "loihi-like", "isaac-like"])
@pytest.mark.parametrize("seed", range(3))
def test_counters_are_those_of_plain_loops(target, seed):
    program = tiny(target=target)
    facts, seen = tree_facts(program), anything(program, seed)
    found = counters(program, facts, seen)
    flat = {(op, kind): n for op, kinds in found.items() for kind, n in kinds.items()}
    assert flat == one_by_one(program, facts, seen)

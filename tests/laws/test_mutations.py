"""One wrong entry anywhere, and a run fails by name: refused when loaded, or caught on its way."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.accounting import tree_facts
from compiler.pipeline import compile_graph
from compiler.program import PARTIAL, SPIKE, TILE, VECTOR
from hw_models.chip import load_chip
from hw_models.errors import BadInput, Bug, GateFailed, SpikeloomError
from simulator import drive
from simulator.counters import check_conservation
from simulator.hot import state as hot
from simulator.reference import compare
from tests.small import model
from tests.tiny import TINY, changed, tiny

TOKENS = (3, 17, 17)


@cache
def most_events(sync="dataflow"):
    """What a run may take before we call it a hang: three times a sound one."""
    return 3 * run(tiny(), sync=sync).events


def run(program, limit=10**9, sync="dataflow"):
    """Stream the tokens through a program; no more than `limit` events."""
    simulation = drive.Simulation(program, keep_sums=True, sync=sync)
    for token in TOKENS:
        simulation.start(token, 0)
    for _ in simulation.advance():
        assert simulation.events <= limit, "a hang"
    return simulation


def failure(program, checked=False, sync="dataflow"):
    """The error of a mutated program: of loading it, or unless `checked`, of running it."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SpikeloomError) as caught:
        patch.setattr(drive, "BATCH", 1000)
        if not checked:
            patch.setattr(drive, "check_tables", lambda program: None)
        simulation = run(program, most_events(sync), sync)
        check_conservation(program, tree_facts(program), simulation.state)
        compare(tiny(), simulation.found, TOKENS)
    error = caught.value
    if checked:
        assert isinstance(error, BadInput)
        assert error.where in (*program.task_names, *program.tables.__slots__)
    elif isinstance(error, Bug):
        assert any(name in error.where for name in program.task_names)
        assert "tree" in error.where or ("core" in error.where and "token" in str(error))
    else:
        assert isinstance(error, GateFailed)
        assert "token" in error.where
    return error


def caught_twice(program):
    """Refused when loaded; and a machine that goes wrong in the same way is found out."""
    failure(program, checked=True)
    return failure(program)


RANGES = ("tree_first_local", "tree_last_local", "node_first_sink", "node_last_sink")


def resized(program, sink, by):
    """The program with a sink doubled (by = 1) or dropped (by = -1)."""
    t = program.tables
    found = {name: getattr(t, name) + by * (getattr(t, name) > sink) for name in RANGES}
    for name in ("sink_core", "sink_task", "sink_base"):
        column = getattr(t, name)
        found[name] = np.delete(column, sink) if by < 0 else np.insert(column, sink, column[sink])
    return replace(program, tables=replace(t, **found))


def test_the_unchanged_program_passes_all_of_it():
    simulation = run(tiny())
    check_conservation(tiny(), tree_facts(tiny()), simulation.state)
    compare(tiny(), simulation.found, TOKENS)
    t = tiny().tables
    assert t.task_period.max() > 1
    assert tiny().n_chips > 1
    assert {SPIKE, PARTIAL} < set(t.emit_class.tolist())


rows = st.integers(0, 10**6)
# a failing example is small enough to read; shrinking it would take long
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(sink=rows)
def test_a_dropped_delivery(sink):
    error = caught_twice(resized(tiny(), sink % tiny().tables.sink_task.size, -1))
    assert isinstance(error, Bug)


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(sink=rows, by=st.sampled_from([-1, 1]))
def test_a_delivery_dropped_or_doubled_under_barrier_sync(sink, by):
    wrong = resized(tiny(), sink % tiny().tables.sink_task.size, by)
    assert isinstance(failure(wrong, sync="barrier"), Bug)


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(when=st.integers(0, 60), which=rows)
@pytest.mark.parametrize("coding", ["ternary", "bitwise"])
def test_a_message_lost_between_two_steps(coding, when, which):
    """One of those that wait for a barrier is gone: the error names all that is known of it."""
    program = tiny(coding)
    simulation = drive.Simulation(program, sync="barrier", waves=False)
    for token in TOKENS:
        simulation.start(token, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "BATCH", 100)
        running = simulation.advance()
        for _ in range(when):
            next(running)
        waiting = np.zeros(0, int)
        while not waiting.size:  # until a message of this step has arrived
            next(running)
            reg = simulation.state.reg
            heap = simulation.state.heap[: reg[hot.R_HEAP]]
            arrivals = (heap[:, 2] >> hot.KIND_SHIFT) == hot.ARRIVE
            waiting = np.flatnonzero(arrivals & (heap[:, 0] == hot.LATER))
        lost = int(waiting[which % waiting.size])
        sink = int(heap[lost, 2] >> hot.INDEX_SHIFT) & hot.MASK
        heap[:-1] = sorted(np.delete(heap, lost, axis=0).tolist())  # sorted: a heap
        reg[hot.R_HEAP] -= 1
        with pytest.raises(Bug) as caught:
            list(running)
    task = int(program.tables.sink_task[sink])
    error = str(caught.value)
    assert f"operation {program.ops[program.tables.task_op[task]]}" in error
    assert f"task {program.task_names[task]}, core {program.tables.task_core[task]}" in error
    assert re.search(r"token \d", error)
    assert "announces" in error or "never finished" in error


@settings(max_examples=10, deadline=None, phases=PHASES)
@given(when=st.integers(0, 60), which=rows)
def test_a_message_of_a_wave_lost_between_two_steps(when, which):
    """One of those that crossed together is not taken in anywhere."""
    simulation, waves, carry = drive.Simulation(tiny(), sync="barrier"), [], drive.carry_wave

    def losing(*arguments):
        state = carry(*arguments)
        waves.append(int(state.reg[hot.R_DUE]))
        if len(waves) == 1 + when:
            due = state.due[: waves[-1]]
            due[:-1] = np.delete(due, which % waves[-1], axis=0)
            state.reg[hot.R_DUE] -= 1
        return state

    for token in TOKENS:
        simulation.start(token, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "carry_wave", losing)
        with pytest.raises(Bug, match=r"announces|never finished"):
            list(simulation.advance())
    assert len(waves) > when


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(sink=rows)
def test_a_doubled_delivery(sink):
    error = caught_twice(resized(tiny(), sink % tiny().tables.sink_task.size, 1))
    assert isinstance(error, Bug)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(sink=rows, other=rows, rebased=st.booleans())
def test_a_delivery_to_another_cores_task(sink, other, rebased):
    t = tiny().tables
    sink %= t.sink_task.size
    others = np.flatnonzero(t.task_core != t.sink_core[sink])
    task = int(others[other % others.size])
    cells = {"sink_task": {sink: task}, "sink_core": {sink: t.task_core[task]}}
    if rebased:
        cells["sink_base"] = {sink: -max(t.task_pre[task], t.task_neuron_lo[task])}
    error = caught_twice(changed(tiny(), **cells))
    assert isinstance(error, Bug)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(task=rows, by=st.sampled_from([-1, 1]))
def test_a_task_that_awaits_one_too_many_or_too_few(task, by):
    t = tiny().tables
    waiting = np.flatnonzero(t.task_need > 0)
    task = int(waiting[task % waiting.size])
    error = caught_twice(changed(tiny(), task_need={task: t.task_need[task] + by}))
    assert isinstance(error, Bug)


@settings(max_examples=10, deadline=None, phases=PHASES)
@given(task=rows, by=st.sampled_from([-1, 1]))
def test_a_stripe_that_awaits_one_too_many_or_too_few_keys(task, by):
    t = tiny().tables
    waiting = np.flatnonzero(t.task_extra > 0)
    task = int(waiting[task % waiting.size])
    error = caught_twice(changed(tiny(), task_extra={task: t.task_extra[task] + by}))
    assert isinstance(error, Bug)


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(emit=rows)
def test_a_net_that_ends_one_channel_early(emit):
    t = tiny().tables
    emit %= t.emit_n.size
    shortened = changed(tiny(), emit_n={emit: t.emit_n[emit] - 1})
    failure(shortened, checked=True)
    if t.emit_class[emit] == SPIKE:
        site = tiny().graph.sites[t.task_site[t.tree_task[t.emit_tree[emit]]]].name
        counts = run(tiny()).found.activity.stacked(site)
        if not counts[:, t.emit_lo[emit] + t.emit_n[emit] - 1].any():
            return  # the lost channel was silent: this run is not wrong
    failure(shortened)


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(sink=rows, by=st.sampled_from([-1, 1]))
def test_sums_and_spikes_that_arrive_one_row_off(sink, by):
    t = tiny().tables
    targets = np.flatnonzero((t.task_neuron_n[t.sink_task] > 0) | (t.task_n_pre[t.sink_task] > 0))
    carries = np.zeros(t.tree_root.size, int)
    carries[t.emit_tree] = t.emit_class
    facts = tree_facts(tiny())
    targets = [
        s for s in targets if carries[facts.tree_of_sink[s]] in (SPIKE, PARTIAL)
        and facts.tree_of_sink[s] >= 0
    ]  # fmt: skip
    sink = int(targets[sink % len(targets)])
    caught_twice(changed(tiny(), sink_base={sink: t.sink_base[sink] + by}))


def test_a_tile_one_column_off():
    t = tiny().tables
    linears = tiny().graph.linears
    found = 0
    for task in np.flatnonzero(t.task_kind == TILE):
        if t.task_neuron_lo[task] + t.task_neuron_n[task] == linears[t.task_linear[task]].n_post:
            continue
        found += 1
        emits = range(t.task_emit[task], t.task_emit[task + 1])
        shifted = changed(
            tiny(),
            task_neuron_lo={task: t.task_neuron_lo[task] + 1},
            emit_lo={e: t.emit_lo[e] + 1 for e in emits},
        )
        failure(shifted)  # its neurons are still neurons of the linear: only running it tells
    assert found > 3


def test_a_tile_one_row_off():
    wide = replace(TINY, hidden_size=136, num_hidden_layers=1)
    graph, tensors, _ = model(0, wide)
    program = compile_graph(graph, tensors, load_chip("toy", {"core.in_axons": "128"}))
    t = program.tables
    starts = np.flatnonzero((t.task_kind == TILE) & (t.task_n_pre == 128))
    task = int(starts[0])
    moved = changed(program, task_pre={task: 1})
    with pytest.raises(BadInput) as caught:
        drive.Simulation(moved)
    assert caught.value.where == program.task_names[task]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(GateFailed) as found:
        patch.setattr(drive, "check_tables", lambda program: None)
        compare(program, run(moved).found, TOKENS)
    assert found.value.where == "layers.0.qkvg, token 0"


@settings(max_examples=10, deadline=None, phases=PHASES)
@given(linear=rows, neuron=rows, axon=rows)
def test_a_weight_flipped(linear, neuron, axon):
    program = tiny()
    lin = program.graph.linears[linear % len(program.graph.linears)]
    counts = run(program).found.activity.stacked(lin.site)
    token, axon = np.argwhere(counts != 0)[axon % np.count_nonzero(counts)]
    arrays = program.linears[lin.name]
    q = arrays.q.copy()
    q[neuron % lin.n_post, axon] ^= 0x40
    broken = replace(program, linears={**program.linears, lin.name: replace(arrays, q=q)})
    error = failure(broken)
    assert isinstance(error, GateFailed)
    named, _, at = error.where.partition(", token ")
    assert (named, error.what) == (lin.name, "sums differ from the canonical executor's")
    assert int(at) <= token


@settings(max_examples=20, deadline=None, phases=PHASES)
@given(sink=rows, home=rows)
def test_a_partial_sum_for_another_home(sink, home):
    t = tiny().tables
    carries = np.zeros(t.tree_root.size, int)
    carries[t.emit_tree] = t.emit_class
    trees = tree_facts(tiny()).tree_of_sink
    sums = [s for s in range(t.sink_task.size) if trees[s] >= 0 and carries[trees[s]] == PARTIAL]
    sink = sums[sink % len(sums)]
    homes = np.flatnonzero((t.task_kind == VECTOR) & (t.task_neuron_n > 0))
    homes = homes[homes != t.sink_task[sink]]
    home = int(homes[home % homes.size])
    cells = {"sink_task": {sink: home}, "sink_core": {sink: t.task_core[home]}}
    cells["sink_base"] = {sink: -t.task_neuron_lo[home]}
    assert isinstance(caught_twice(changed(tiny(), **cells)), Bug)


NODE = ("node_link", "node_first_child", "node_last_child", "node_first_sink", "node_last_sink")


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(first=rows, second=rows)
def test_two_nodes_of_different_trees_swapped(first, second):
    t = tiny().tables
    carriers = [n for n in range(t.node_link.size) if t.node_first_sink[n] < t.node_last_sink[n]]
    a = carriers[first % len(carriers)]
    facts = tree_facts(tiny()).tree_of_sink
    carries = np.zeros((t.tree_root.size, 2), int)
    carries[t.emit_tree] = np.stack([t.emit_class, t.emit_n], axis=1)
    net = carries[facts[t.node_first_sink[: t.node_link.size] % facts.size]]
    # values travel as numbers of values: nets of equal size are told apart by the compiler only
    other = [n for n in carriers if (net[n] != net[a]).any()]
    b = other[second % len(other)]
    swap = {name: {a: getattr(t, name)[b], b: getattr(t, name)[a]} for name in NODE}
    failure(changed(tiny(), **swap), checked=True)


def test_a_tree_that_bites_its_tail_is_refused_and_not_walked_forever():
    t = tiny().tables
    node = int(np.flatnonzero(t.node_first_child < t.node_last_child)[0])
    loop = changed(tiny(), node_first_child={node: node}, node_last_child={node: node + 1})
    with pytest.raises(BadInput, match="below no tree, or two"):
        drive.Simulation(loop)
    both = np.flatnonzero(t.node_first_child < t.node_last_child)
    child = int(t.node_first_child[both[0]])
    ring = changed(tiny(), node_first_child={child: both[0]}, node_last_child={child: both[0] + 1})
    with pytest.raises(BadInput, match=r"before its parent|no tree, or two|share a node"):
        drive.Simulation(ring)

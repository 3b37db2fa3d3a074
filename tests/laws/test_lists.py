"""Synapses as lists, or wider than 8 bits: the same spikes, and counts of what is stored."""

import json
from dataclasses import replace

import numpy as np
import pytest

from compiler.accounting import counters, tree_facts
from compiler.audit.tables import check_tables
from compiler.audit.verify import verify
from compiler.graph import Population
from compiler.lava.export import export
from compiler.pipeline import compile_model
from compiler.program import TILE, Program
from hw_models.errors import BadInput, Unsupported
from simulator.counters import check_conservation, snapshot
from simulator.lockstep import Lockstep
from simulator.lockstep_run import LockstepRun, run_lockstep
from simulator.reference import compare
from simulator.step_time import delivered
from tests.lists import TARGET, WIDE, convolved
from tests.spiking import random_spikes, streamed
from tests.tiny import changed

CUT = WIDE | {"core.synapse_memory": "4 KiB", "core.in_axons": "300"}  # inputs are cut as well


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return convolved(tmp_path_factory.mktemp("lists") / "net.nir")


@pytest.fixture(scope="module", params=["whole", "cut"])
def program(request, path):
    return compile_model(path[0], TARGET, overrides=CUT if request.param == "cut" else WIDE)


@pytest.fixture(scope="module")
def spikes():
    return random_spikes(2 * 12 * 12, 20)


@pytest.fixture(scope="module")
def events(program, spikes):
    return streamed(program, spikes)


def matrix(program, k):
    """What a linear's arrays stand for, float64 [n_post, n_pre], and where a synapse is stored."""
    linear = program.graph.linears[k]
    a = program.linears[linear.name]
    value, held = (np.zeros((linear.n_post, linear.n_pre)) for _ in range(2))
    for j in range(linear.n_post):
        own = slice(a.first[j], a.first[j + 1]) if linear.listed is not None else j
        pre = a.pre[own] if linear.listed is not None else np.arange(linear.n_pre)
        group = pre // 128 if a.m.shape[1] > 1 else np.zeros_like(pre)
        value[j, pre] = a.q[own] * a.m[j][group] * (float(a.row_scale[j]) / 2**15)
        held[j, pre] = 1
    return value, held


def by_hand(program, spikes):
    """Spikes of every population, float64 matrices, integrate and fire."""
    rows = [spikes.reshape(len(spikes), -1).astype(float)]
    for k, stage in enumerate(s for s in program.graph.stages if isinstance(s, Population)):
        w, v, out = matrix(program, k)[0], np.zeros(stage.n), []
        bias = program.linears[program.graph.linears[k].name].bias
        p = dict(
            zip(("r", "th", "reset"), (program.vectors[n] for n in stage.parameters), strict=True)
        )
        for row in rows[-1]:
            v = v + p["r"] * (w @ row + bias)
            out.append(v > p["th"])
            v = np.where(out[-1], p["reset"], v)
        rows.append(np.array(out, float))
    return rows


def test_lists_wide_and_narrow_are_chosen_and_hold_the_model_s_integers(program, path):
    _, few, every = path
    forms = [(lin.bits, lin.listed, lin.integers) for lin in program.graph.linears]
    assert forms == [
        (8, 2 * 3 * 34 * 34, False),  # 9 taps, less those in the padding
        (12, np.count_nonzero(few), True),
        (12, None, True),
    ]
    for k, wanted in ((1, few), (2, every)):
        np.testing.assert_array_equal(matrix(program, k)[0], wanted)


def test_spikes_are_those_of_matrices_in_float64(program, spikes, events):
    wanted = by_hand(program, spikes)
    found = [np.stack(rows) for rows in events.found.activity.counts.values()]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
        assert 0.01 < b.mean() < 0.9
    steps = Lockstep(program).run(spikes)
    np.testing.assert_array_equal(steps.raster, np.concatenate(wanted, axis=1))


def test_the_canonical_executor_finds_the_same_sums(program, spikes, events):
    compare(program, events.found, list(spikes))
    assert set(events.found.sums) == {lin.name for lin in program.graph.linears}


def test_a_synop_is_a_delivered_spike_and_a_stored_synapse(program, spikes, events):
    facts = tree_facts(program)
    check_conservation(program, facts, events.state)
    counts = counters(program, facts, snapshot(events.state))
    rows = by_hand(program, spikes)
    for k, linear in enumerate(program.graph.linears):
        met = int((rows[k] @ matrix(program, k)[1].T).sum())
        assert counts[linear.name]["synop_add"] == met
        assert counts[linear.name]["weight_fetch"] == met


def test_a_run_in_lock_step_counts_what_events_count(program, spikes, events):
    run = LockstepRun(program)
    run_lockstep(run, spikes, lambda what, done, total: None)
    mine, theirs = run.snapshot(), snapshot(events.state)
    np.testing.assert_array_equal(mine.task_synops, theirs.task_synops)
    assert mine.task_synops.sum() > 0
    steps = Lockstep(program).run(spikes)
    met = delivered(Lockstep(program), steps)
    late = steps.fired.shape[0]
    assert 0 < met.synops.sum() <= mine.task_synops.sum() and len(met.synops) == late


def test_a_list_costs_its_neurons_numbers_and_goes_only_where_it_is_needed(program):
    t, graph = program.tables, program.graph
    for k, linear in enumerate(graph.linears):
        held = matrix(program, k)[1]
        for task in np.flatnonzero((t.task_kind == TILE) & (t.task_linear == k)):
            lo, pre = t.task_neuron_lo[task], t.task_pre[task]
            block = held[lo : lo + t.task_neuron_n[task], pre : pre + t.task_n_pre[task]]
            assert t.task_synapses[task] == block.sum()
            bits = linear.bits + 10 * (linear.listed is not None)
            assert -(-t.task_synapses[task] * bits // 8) <= program.chip.core.synapse_memory
            assert t.task_axons[task] == max(1, block.any(0).sum())


def test_the_file_holds_it_and_its_audit_finds_what_is_damaged(program, tmp_path):
    file = tmp_path / "n.sbx"
    program.write(file)
    again = Program.read(file)
    assert again.hash == program.hash
    assert not [check for check in verify(again) if check.problem]
    tiles = np.flatnonzero((program.tables.task_kind == TILE) & (program.tables.task_linear == 1))
    tile = int(tiles[0])
    for column in ("task_synapses", "task_axons"):
        value = int(getattr(program.tables, column)[tile])
        with pytest.raises(BadInput):
            check_tables(changed(program, **{column: {tile: value - 1}}))
    if tiles.size > 1:  # as many synapses in all, but not where they are
        told = program.tables.task_synapses
        moved = {int(tiles[0]): int(told[tiles[0]]) - 1, int(tiles[1]): int(told[tiles[1]]) + 1}
        found = [check for check in verify(changed(program, task_synapses=moved)) if check.problem]
        assert [check.name for check in found] == ["weights in range"]
    name = program.graph.linears[1].name
    arrays = program.linears[name]
    for part, value in (
        ("pre", np.roll(np.asarray(arrays.pre), 1)),
        ("first", np.asarray(arrays.first)[::-1].copy()),
        ("q", np.full_like(arrays.q, 2048)),
    ):
        broken = replace(
            program, linears={**program.linears, name: replace(arrays, **{part: value})}
        )
        assert [check.name for check in verify(broken) if check.problem] == ["weights in range"], (
            part
        )


def test_a_target_without_lists_or_wide_weights_stores_every_pair_in_8_bits(path):
    plain = compile_model(path[0], "toy")
    assert all(lin.plain for lin in plain.graph.linears)
    narrow = compile_model(path[0], TARGET)
    assert [lin.bits for lin in narrow.graph.linears] == [8, 8, 8]
    assert narrow.graph.linears[1].listed is not None and narrow.graph.linears[2].listed is None


def test_lava_gets_lists_with_their_zeros_and_no_wider_weights(path, tmp_path, program):
    narrow = compile_model(path[0], TARGET)
    linear = narrow.graph.linears[1]
    counts = {linear.site: np.ones((2, linear.n_pre), np.int32)}
    export(narrow, tmp_path / "n.py", counts, [linear.name])
    held = np.load(tmp_path / "n.npz")
    assert json.loads(str(held["network"]))["linears"] == [linear.name]
    full = np.repeat(held["m/0"], 128, axis=1)[:, : linear.n_pre] * held["q/0"].astype(float)
    scale = np.asarray(narrow.linears[linear.name].row_scale, float)[:, None] / 2**15
    np.testing.assert_array_equal(full * scale, matrix(narrow, 1)[0])
    with pytest.raises(Unsupported, match="12-bit weights"):
        export(program, tmp_path / "w.py", counts, [linear.name])

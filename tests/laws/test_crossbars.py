"""Crossbars: exact with an ideal converter, and otherwise the same error however a model is cut."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from compiler.accounting import counters, tree_facts
from compiler.pipeline import compile_graph
from compiler.program import TILE
from hw_models.chip import load_chip
from hw_models.errors import GateFailed
from kernels.canonical import execute
from kernels.crossbar import cells, read
from simulator.analog import sums_of_arrays
from simulator.counters import check_conservation, snapshot
from simulator.reference import compare, numbers_of
from tests.small import TEXT, assert_equal, decoded, model, prefilled, reference

TARGETS = ("isaac-like", "hermes-like")
IDEAL = {"array.adc_bits": "ideal", "array.noise": "0 %"}
ROUGH = {"array.adc_bits": "5 bit", "array.noise": "3 %", "array.seed": "9"}
FEW = TEXT[:4]


def compiled(target, coding="bitwise", **changed):
    graph, tensors, _ = model(0)
    return compile_graph(graph, tensors, load_chip(target, changed), coding=coding)


def analog(program, text):
    """The canonical executor on the arrays' sums."""
    return list(
        execute(program.graph, numbers_of(program), text, program.k, sums_of_arrays(program))
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("coding", ["ternary", "bitwise", "graded"])
def test_an_ideal_converter_is_a_digital_core(target, coding):
    assert_equal(prefilled(compiled(target, coding, **IDEAL), FEW), reference(0)[:4])


@pytest.mark.parametrize("rows_at_once", ["32", "128"])
@pytest.mark.parametrize("encoding", ["pairs", "offset"])
def test_so_it_is_whatever_the_arrays(rows_at_once, encoding):
    changed = IDEAL | {
        "array.encoding": encoding, "array.rows_at_once": rows_at_once, "array.rows": "256",
        "array.columns": "90", "array.bits_per_cell": "3 bit", "array.dac_bits": "2 bit",
    }  # fmt: skip
    assert_equal(prefilled(compiled("isaac-like", **changed), FEW), reference(0)[:4])


def test_the_shipped_isaac_is_exact_although_its_converters_are_not_ideal():
    program = compiled("isaac-like")
    assert not program.chip.array.exact
    assert_equal(prefilled(program), reference(0))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("coding", ["ternary", "bitwise", "graded"])
def test_a_rough_array_simulates_as_the_oracle_reads_it(target, coding):
    program = compiled(target, coding, **ROUGH)
    assert_equal(prefilled(program, FEW), analog(program, FEW))


def test_the_error_depends_on_the_seed_and_not_on_the_cut_the_slots_or_the_phase():
    wanted = analog(compiled("isaac-like", **ROUGH), FEW)
    exact = reference(0)[:4]
    assert any((a.logits != b.logits).any() for a, b in zip(wanted, exact, strict=True))
    for per_core in ("2", "5", "96"):
        program = compiled("isaac-like", **ROUGH | {"array.per_core": per_core})
        assert_equal(prefilled(program, FEW), wanted)
        assert_equal(prefilled(program, FEW, slots=1), wanted)
    assert_equal(decoded(program, FEW), wanted)
    other = analog(compiled("isaac-like", **ROUGH | {"array.seed": "10"}), FEW)
    assert any((a.logits != b.logits).any() for a, b in zip(wanted, other, strict=True))


def recount(program, activity):
    """{linear: {kind: count}} tile by tile: what the oracle does with the recorded counts."""
    t, array, found = program.tables, program.chip.array, defaultdict(Counter)
    for task in np.flatnonzero(t.task_kind == TILE):
        index = int(t.task_linear[task])
        linear = program.graph.linears[index]
        own = slice(
            int(t.task_neuron_lo[task]), int(t.task_neuron_lo[task] + t.task_neuron_n[task])
        )
        rows = slice(int(t.task_pre[task]), int(t.task_pre[task] + t.task_n_pre[task]))
        q = program.linears[linear.name].q[own, rows]
        held = cells(q, array, index, own.start, rows.start)
        for counts in activity.counts[linear.site]:
            done = read(counts[rows], program.codings[linear.site][0], held, array)
            found[linear.name] += Counter(
                row_drive=done.driven, array_read=done.reads,
                adc_convert=done.conversions, shift_add=done.conversions,
            )  # fmt: skip
    return found


KINDS = ("row_drive", "array_read", "adc_convert", "shift_add")
DIGITAL = ("synop_add", "synop_shift", "synop_mac", "weight_fetch")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("coding", ["ternary", "bitwise"])
def test_arrays_are_counted_and_synops_are_not(target, coding):
    program = compiled(target, coding, **{"array.per_core": "4"})
    simulation = prefilled(program, FEW)
    facts, seen = tree_facts(program), snapshot(simulation.state)
    check_conservation(program, facts, simulation.state)
    found = counters(program, facts, seen)
    wanted = recount(program, simulation.found.activity)
    for linear in program.graph.linears:
        kinds = found[linear.name]
        assert {k: kinds[k] for k in KINDS} == dict(wanted[linear.name]), linear.name
        assert not set(DIGITAL) & set(kinds)
        assert kinds["axon_lookup"] > 0
    others = set(found) - {linear.name for linear in program.graph.linears}
    assert not any(set(KINDS) & set(found[op]) for op in others)


def test_the_check_compares_with_the_arrays_own_sums():
    program = compiled("hermes-like")
    simulation = prefilled(program, FEW)
    compare(program, simulation.found, FEW)
    simulation.found.sums["layers.1.down"][2][5] += 1
    with pytest.raises(GateFailed, match="sums differ"):
        compare(program, simulation.found, FEW)

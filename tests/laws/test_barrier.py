"""Barrier sync changes times and the number of neuron updates, and nothing else."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.accounting import counters, tree_facts
from compiler.frontends.read import read_model
from compiler.pipeline import compile_graph
from hw_models.chip import load_chip
from kernels.canonical import execute
from kernels.coding import density
from simulator.counters import check_conservation, snapshot
from simulator.reference import numbers_of
from tests.conftest import ROOT
from tests.small import TEXT, assert_equal, decoded, model, prefilled, reference
from tests.tiny import TINY, tiny

CODINGS = ("ternary", "bitwise", "graded")
OTHERWISE = {"neuron_update"}
"""Counted otherwise under barrier sync; with a row buffer `weight_fetch` is, too."""


@pytest.mark.parametrize("target", ["toy", "loihi-like"])
@pytest.mark.parametrize("coding", CODINGS)
def test_values_are_the_canonical_executors_in_prefill_and_in_decode(target, coding):
    graph, tensors, _ = model(0)
    program = compile_graph(graph, tensors, load_chip(target), coding=coding)
    assert_equal(prefilled(program, sync="barrier"), reference(0))
    assert_equal(decoded(program, sync="barrier"), reference(0))


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("coding", CODINGS)
def test_any_number_of_token_slots_gives_the_same_values(slots, coding):
    program = tiny(coding, sync="barrier", core__token_slots="8", core__state_memory="8 KiB")
    text = TEXT_OF_TINY * 3
    simulation = prefilled(program, text, slots)
    assert_equal(simulation, reference(0, TINY, text))
    assert simulation.steps > 0  # without being asked: it is the target's own sync


TEXT_OF_TINY = (3, 17, 17, 8, 0, 19)

sizes = st.fixed_dictionaries(
    {
        "core.synapse_memory": st.integers(2_000, 40_000).map(lambda n: f"{n} B"),
        "core.state_memory": st.integers(9_000, 40_000).map(lambda n: f"{n} B"),
        "core.in_axons": st.integers(128, 400).map(str),
        "timing.barrier_ps": st.integers(1, 10**6).map(lambda n: f"{n} ps"),
        "timing.update_ps": st.integers(0, 10**5).map(lambda n: f"{n} ps"),
    }
)


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(sizes=sizes, coding=st.sampled_from(CODINGS))
def test_core_sizes_and_the_lengths_of_steps_change_no_value(sizes, coding):
    graph, tensors, _ = model(1)
    program = compile_graph(graph, tensors, load_chip("toy", sizes), coding=coding)
    assert_equal(prefilled(program, TEXT[:4], sync="barrier"), reference(1)[:4])


def test_the_byte_lm_streams_and_decodes_with_its_own_values():
    text = tuple((ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:6])
    graph, tensors = read_model(ROOT / "examples/byte_lm/model.pt")
    program = compile_graph(graph, tensors, load_chip("loihi-like", {"sync": "barrier"}))
    wanted = list(execute(program.graph, numbers_of(program), text, program.k))
    streamed, stepped = prefilled(program, text), decoded(program, text)
    assert_equal(streamed, wanted)
    assert_equal(stepped, wanted)
    assert streamed.steps < stepped.steps


def counted(program, sync):
    """Counters of a prefill, and its steps."""
    simulation = prefilled(program, TEXT_OF_TINY, sync=sync)
    facts = tree_facts(program)
    check_conservation(program, facts, simulation.state)
    return counters(program, facts, snapshot(simulation.state)), simulation.steps


def split(counts, kinds):
    """(all other kinds by operation, these kinds added up)."""
    rest = {op: {k: n for k, n in found.items() if k not in kinds} for op, found in counts.items()}
    return rest, Counter(
        {k: n for found in counts.values() for k, n in found.items() if k in kinds}
    )


@pytest.mark.parametrize("target", ["toy", "loihi-like"])
@pytest.mark.parametrize("coding", CODINGS)
def test_counters_are_dataflows_but_for_neuron_updates(target, coding):
    program = tiny(coding, target, abilities__row_buffer="false")
    (flow, none), (steps, n) = counted(program, "dataflow"), counted(program, "barrier")
    assert (none, n > 0) == (0, True)
    assert split(flow, OTHERWISE)[0] == split(steps, OTHERWISE)[0]


def test_every_neuron_of_the_program_updates_in_every_step():
    counts, steps = counted(tiny(), "barrier")
    graph = tiny().graph
    for stage in graph.stages:
        neurons = graph.linear(stage.linear).n_post if stage.linear is not None else 0
        assert counts[stage.name].get("neuron_update", 0) == neurons * steps
    assert not any("neuron_update" in counts.get(linear.name, {}) for linear in graph.linears)


@pytest.mark.parametrize("coding", ["ternary", "bitwise"])
def test_a_row_buffer_saves_less_where_a_channels_spikes_lie_in_different_steps(coding):
    with_buffer, without = (tiny(coding, abilities__row_buffer=has) for has in ("true", "false"))
    kinds = OTHERWISE | {"weight_fetch"}
    (flow, _), (steps, _) = (counted(with_buffer, sync) for sync in ("dataflow", "barrier"))
    most, _ = counted(without, "barrier")
    assert split(flow, kinds)[0] == split(steps, kinds)[0] == split(most, kinds)[0]
    fetches = [
        sum(found.get("weight_fetch", 0) for found in c.values()) for c in (flow, steps, most)
    ]
    assert fetches[0] < fetches[1] <= fetches[2]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_token_takes_a_step_more_for_every_further_symbol_of_its_longest_trains(coding):
    """Site by site T - 1 steps more than a token whose counts fit one step each."""
    program = tiny(coding)
    simulation = prefilled(program, (), sync="barrier")
    taken, end = [], 0
    for token in TEXT_OF_TINY:
        before = simulation.steps
        simulation.start(token, end)
        *_, (_, end, _) = simulation.advance()
        taken.append(simulation.steps - before)
    found = simulation.found.activity
    longer = [
        sum(
            max(1, density(found.counts[site.name][token], program.codings[site.name][0]).steps) - 1
            for site in program.graph.sites
        )
        for token in range(len(TEXT_OF_TINY))
    ]
    assert len({steps - more for steps, more in zip(taken, longer, strict=True)}) == 1
    assert len(set(longer)) > 1 or coding == "graded"


def test_times_are_steps_of_at_least_a_barrier():
    short, long = (
        prefilled(
            tiny(timing__barrier_ps=ps, timing__update_ps="0 ps"), TEXT_OF_TINY, sync="barrier"
        )
        for ps in ("1 ps", "1000001 ps")
    )
    assert short.steps == long.steps
    ends = [np.array(list(s.found.logits_ps.values())) for s in (short, long)]
    late = ends[1] - ends[0]
    assert (late % 10**6 == 0).all() and late[-1] == short.steps * 10**6

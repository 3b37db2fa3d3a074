"""A router decides what runs: values are the canonical executor's, the others do nothing at all."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.accounting import tree_facts
from compiler.audit.trees import tree_of_sink
from compiler.conditions import conditions
from compiler.pipeline import compile_graph
from compiler.program import TILE, VECTOR
from hw_models.chip import load_chip
from hw_models.errors import BadInput, GateFailed, SpikeloomError
from simulator import drive
from simulator.api import simulate
from simulator.counters import check_conservation, snapshot
from simulator.reference import compare
from tests.experts import CONFIGS, SMALL_CORES, TEXT, model, program, reference
from tests.small import assert_equal, decoded, prefilled
from tests.tiny import changed

SYNCS = ("dataflow", "barrier")


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize("target", ["toy", "loihi-like"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CONFIGS)
def test_values_are_the_canonical_executors_in_prefill_and_in_decode(name, seed, target, sync):
    sbx = program(name, target, seed)
    assert_equal(prefilled(sbx, TEXT, sync=sync), reference(name, seed))
    assert_equal(decoded(sbx, TEXT, sync=sync), reference(name, seed))


def test_the_cases_hold_what_they_are_for():
    """Several chips, homes and encoders of several blocks, and sums passed on between tiles."""
    assert min(program(name).n_chips for name in CONFIGS) > 1
    assert any(".sum" in task and "experts" in task for task in program("wide").task_names)
    t = program().tables
    assert (t.task_rows > 1).sum() > 2 and (t.emit_condition >= 0).any()
    for name in CONFIGS:
        chosen = {c for token in reference(name) for c in token.chosen["layers.1.route"]}
        assert len(chosen) > 1


@pytest.mark.parametrize("sync", SYNCS)
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_any_number_of_token_slots_gives_the_same_values(slots, sync):
    graph, tensors, _ = model("two of five")
    roomy = SMALL_CORES | {"core.token_slots": "8", "core.state_memory": "8 KiB"}
    sbx = compile_graph(graph, tensors, load_chip("toy", roomy))
    assert_equal(prefilled(sbx, TEXT, slots, sync), reference("two of five"))


@pytest.mark.parametrize("coding", ["ternary", "graded"])
def test_any_coding_gives_the_same_values(coding):
    graph, tensors, _ = model("two of five")
    sbx = compile_graph(graph, tensors, load_chip("loihi-like"), coding=coding)
    for sync in SYNCS:
        assert_equal(prefilled(sbx, TEXT, sync=sync), reference("two of five"))


sizes = st.fixed_dictionaries(
    {
        "core.synapse_memory": st.integers(1_000, 9_000).map(lambda n: f"{n} B"),
        "core.state_memory": st.integers(3_000, 20_000).map(lambda n: f"{n} B"),
        "layout.usable_cores": st.integers(3, 16).map(str),
        "core.lanes": st.integers(1, 9).map(str),
    }
)


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(sizes=sizes, name=st.sampled_from(sorted(CONFIGS)), sync=st.sampled_from(SYNCS))
def test_core_sizes_change_no_value(sizes, name, sync):
    graph, tensors, _ = model(name)
    sbx = compile_graph(graph, tensors, load_chip("toy", sizes))
    assert_equal(prefilled(sbx, TEXT[:5], sync=sync), reference(name)[:5])


@pytest.mark.parametrize("name", CONFIGS)
def test_an_expert_fires_and_is_sent_spikes_for_the_tokens_that_chose_it_and_no_others(name):
    sbx = program(name)
    simulation = prefilled(sbx, TEXT)
    check_conservation(sbx, tree_facts(sbx), simulation.state)
    seen, t = snapshot(simulation.state), sbx.tables
    chosen = Counter(
        (router, expert)
        for token in reference(name)
        for router, experts in token.chosen.items()
        for expert in experts
    )
    for number, condition in enumerate(conditions(sbx.graph)):
        own = t.task_condition == number
        assert own.any() and (seen.task_fired[own] == chosen[condition]).all()
        fed = own[t.sink_task] & (t.task_kind[t.sink_task] == TILE)
        assert (seen.sink_got[fed, 3] == chosen[condition]).all()  # markers: one per token
    assert (seen.task_fired[t.task_condition < 0] == len(TEXT)).all()


@pytest.mark.parametrize("target", ["toy", "loihi-like", "hala-point-like", "isaac-like"])
def test_a_run_is_compared_with_the_canonical_executor(target, tmp_path):
    """Experts of which some never run: their sites have no tokens, their linears no MACs."""
    sbx = program("two of five", target)
    run = simulate(sbx, prompt=TEXT[:3], tokens=4, check=True, out=tmp_path / "run")
    ran = {name: sum(p.ran.get(name, p.tokens) for p in run.phases) for name in sbx.ops}
    experts = [ran[f"layers.1.experts.{e}.gate_up"] for e in range(5)]
    assert sum(experts) == 2 * 6 and ran["layers.1.shared.gate_up"] == 6
    assert experts == [ran[f"layers.1.experts.{e}.down"] for e in range(5)]
    tokens = {site.site: site.tokens for site in run.sites}
    assert experts == [tokens[f"layers.1.experts.{e}.down_in"] for e in range(5)]


def test_another_choice_is_a_difference():
    sbx = program()
    simulation = prefilled(sbx, TEXT)
    compare(sbx, simulation.found, TEXT)
    choices = simulation.found.activity.chosen["layers.1.route"]
    choices[3] = (choices[3][0] ^ 1,)
    with pytest.raises(GateFailed, match="choices differ"):
        compare(sbx, simulation.found, TEXT)


def most_events(sync):
    return 3 * prefilled(program(), TEXT[:4], sync=sync).events


def outcome(sbx, sync):
    """Run a program whose tables were not checked; whatever goes wrong is told by name."""
    limit = most_events(sync)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "check_tables", lambda program: None)
        patch.setattr(drive, "BATCH", 1000)
        simulation = drive.Simulation(sbx, keep_sums=True, sync=sync)
        for token in TEXT[:4]:
            simulation.start(token, 0)
        for _ in simulation.advance():
            assert simulation.events <= limit, "a hang"
        check_conservation(sbx, tree_facts(sbx), simulation.state)
        compare(program(), simulation.found, TEXT[:4])


def refused(sbx):
    with pytest.raises(BadInput) as caught:
        drive.Simulation(sbx)
    nodes = (node.name for node in (*sbx.graph.sites, *sbx.graph.linears))
    assert caught.value.where in (*sbx.task_names, *sbx.tables.__slots__, *nodes)


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(
    column=st.sampled_from(["task_condition", "emit_condition", "task_rows"]),
    row=st.integers(0, 10**6),
    value=st.integers(-1, 8),
    sync=st.sampled_from(SYNCS),
)
def test_a_wrong_condition_is_refused_and_a_machine_with_it_found_out_or_harmless(
    column, row, value, sync
):
    old = getattr(program().tables, column)
    row %= old.size
    if old[row] == value or (column == "task_rows" and value < 1):
        return
    if column == "task_condition" and value >= len(conditions(program().graph)):
        return
    wrong = changed(program(), **{column: {row: value}})
    refused(wrong)
    try:
        outcome(wrong, sync)  # compares all values: a change may be harmless
    except SpikeloomError as error:
        assert error.where


def test_spikes_to_the_wrong_expert_are_found_out():
    """Two trees of one sender exchanged: either expert would be sent the other's tokens."""
    t = program().tables
    rows = np.flatnonzero(t.emit_condition >= 0)
    wrong = changed(
        program(),
        emit_condition={rows[0]: t.emit_condition[rows[1]], rows[1]: t.emit_condition[rows[0]]},
    )
    refused(wrong)
    for sync in SYNCS:
        with pytest.raises(SpikeloomError):
            outcome(wrong, sync)


def test_whoever_waits_for_a_choice_must_be_told_it():
    """The router's message to one home or sender goes to a task beside it instead."""
    t, graph = program().tables, program().graph
    route = [stage.name for stage in graph.stages].index("layers.1.route")
    told = np.flatnonzero((t.task_gathers[t.tree_task] == route)[tree_of_sink(t)])
    assert told.size > 2
    for sink, task in zip(told.tolist(), t.sink_task[told].tolist(), strict=True):
        same_core = (t.task_core == t.task_core[task]) & (t.task_kind == VECTOR)
        other = int(
            np.flatnonzero(same_core & ~np.isin(np.arange(same_core.size), t.sink_task[told]))[0]
        )
        need = {task: t.task_need[task] - 2, other: t.task_need[other] + 2}  # as it is sent then
        wrong = changed(program(), sink_task={sink: other}, task_need=need)
        with pytest.raises(BadInput, match=r"does not know the choice of layers\.1\.route"):
            drive.Simulation(wrong)

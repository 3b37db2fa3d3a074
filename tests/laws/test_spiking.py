"""A network of spiking neurons spikes as its equations say, however it is cut and scheduled."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.accounting import counters, tree_facts
from compiler.pipeline import compile_model
from compiler.program import Tables
from hw_models.errors import DoesNotFit, GateFailed, SpikeloomError, Unsupported
from simulator import reference
from simulator.counters import check_conservation, snapshot
from tests.spiking import (
    affine,
    cubalif,
    fired,
    float64,
    lif,
    network,
    random_spikes,
    simulated,
    streamed,
    written,
)
from tests.tiny import changed

# blocks of 13 neurons, tiles of one group, several chips
SMALL = {"core.synapse_memory": "1536 B", "core.state_memory": "1536 B", "core.neurons": "64"}
BINARY = {  # a chip of neurons and of nothing else
    "abilities.codings": '["binary"]',
    "abilities.graded_bits": "0 bit",
    "abilities.vector": "false",
}


@pytest.fixture(scope="module")
def nodes():
    return network()


@pytest.fixture(scope="module")
def path(nodes, tmp_path_factory):
    return written(tmp_path_factory.mktemp("nir") / "three.nir", *nodes)


@pytest.fixture(scope="module")
def spikes():
    return random_spikes(150)


@pytest.fixture(scope="module")
def small(path):
    return compile_model(path, "toy", overrides=SMALL)


def sites(simulation):
    return [np.stack(rows) for rows in simulation.found.activity.counts.values()]


@pytest.mark.parametrize("target", ["toy", "loihi-like"])
def test_spikes_are_those_of_the_equations_in_float64(path, nodes, spikes, target):
    program = compile_model(path, target)
    wanted, nearest = float64(program, nodes, spikes)
    assert nearest > 1e-5  # no membrane so near its threshold that rounding decides
    assert all(0.02 < rows.mean() < 0.9 for rows in wanted)
    simulation = streamed(program, spikes)
    for found, rows in zip(sites(simulation), [spikes, *wanted], strict=True):
        np.testing.assert_array_equal(found, rows)
    np.testing.assert_array_equal(simulated(program, spikes), wanted[-1])


@pytest.mark.parametrize("dt", [2e-4, 5e-5])
def test_a_step_is_as_long_as_it_is_chosen(tmp_path, dt):
    from compiler.frontends.nir import Stepping

    nodes = [affine(30, 20, 1), lif(20, 2), affine(20, 6, 3), cubalif(6, 4)]
    program = compile_model(written(tmp_path / "n.nir", *nodes), "toy", stepping=Stepping(dt))
    spikes = random_spikes(30, 60)
    wanted, nearest = float64(program, nodes, spikes, dt)
    assert nearest > 1e-6 and wanted[-1].any()
    np.testing.assert_array_equal(simulated(program, spikes), wanted[-1])


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_any_cut_and_any_number_of_slots_give_the_same_spikes(path, small, spikes, slots):
    whole = sites(streamed(compile_model(path, "toy"), spikes))
    sizes = SMALL | {"core.token_slots": str(slots), "core.state_memory": "4 KiB"}
    program = compile_model(path, "toy", overrides=sizes)
    blocks = [name for name in program.task_names if name.startswith("lif[")]
    assert len(blocks) > 2 and program.n_chips > 1
    for found, rows in zip(sites(streamed(program, spikes)), whole, strict=True):
        np.testing.assert_array_equal(found, rows)


def test_one_step_after_another_gives_the_same_spikes_later(small, spikes):
    from simulator.drive import Simulation

    simulation, end = Simulation(small), 0
    for row in spikes:
        simulation.start(row, end)
        *_, (_, end, _) = simulation.advance()
    for found, rows in zip(sites(simulation), sites(streamed(small, spikes)), strict=True):
        np.testing.assert_array_equal(found, rows)
    assert end > streamed(small, spikes).now_ps


def test_a_block_does_not_wait_for_the_others(small, spikes):
    """Blocks of a population spike as soon as their own sums are in."""
    rows = []
    streamed(small, spikes[:2], trace=rows.append).flush_trace()
    trace = np.concatenate(rows)
    mine = [i for i, name in enumerate(small.task_names) if name.endswith("].spikes")]
    first = [i for i in mine if small.task_names[i].startswith("lif[")]
    fires = {int(r[4]): int(r[0]) for r in trace[(trace[:, 2] == 2) & (trace[:, 5] == 0)]}
    assert len({fires[i] for i in first}) > 1


def test_nothing_takes_time_at_the_host(small, spikes):
    rows = []
    simulation = streamed(small, spikes, trace=rows.append)
    simulation.flush_trace()
    trace = np.concatenate(rows)
    served = (trace[:, 3] == small.host_core) & (trace[:, 2] != 0)
    taken = trace[served & (trace[:, 6] == 0), 7].sum()  # spikes of the last population
    assert taken == sites(simulation)[-1].sum() > 0
    assert not trace[served, 1].any()


def test_the_canonical_executor_agrees(small, spikes):
    simulation = streamed(small, spikes)
    reference.compare(small, simulation.found, spikes)
    simulation.found.activity.counts["cubalif.spikes"][7][3] ^= 1
    with pytest.raises(GateFailed, match="counts") as caught:
        reference.compare(small, simulation.found, spikes)
    assert caught.value.where == "cubalif.spikes, token 7"


def test_what_is_counted_follows_from_the_spikes(small, spikes):
    simulation = streamed(small, spikes)
    check_conservation(small, tree_facts(small), simulation.state)
    found = counters(small, tree_facts(small), snapshot(simulation.state))
    steps, per_site = len(spikes), [int(rows.sum()) for rows in sites(simulation)]
    for name, sent, n_post in zip(
        ("affine", "affine_1", "affine_2"), per_site, (140, 90, 10), strict=False
    ):
        assert found[name]["synop_add"] == sent * n_post
        assert found[name]["weight_fetch"] == sent * n_post
    for name, n in (("lif", 140), ("cubalif", 90), ("if", 10)):
        assert found[name]["neuron_update"] == n * steps
    kinds = {kind for counts in found.values() for kind in counts}
    # neurons need neither encoders nor vector work, and blocks exchange no values
    assert not [k for k in kinds if k.startswith("vec_") or k in ("encode", "delivered_value")]
    # the last population's spikes go to the host: one message each, a marker per block and step
    blocks = sum(name.startswith("if[") and name.endswith("]") for name in small.task_names)
    assert found["if"]["msg_spike"] == per_site[-1]
    assert found["if"]["msg_marker"] == blocks * steps
    form = small.chip.formats
    spike, marker = form["spike"].header_bits, form["marker"]
    whole = per_site[-1] * spike + blocks * steps * (marker.header_bits + marker.payload_bits)
    assert found["if"]["host_bit"] == whole


@pytest.mark.parametrize("target", ["toy", "hala-point-like", "loihi1"])
def test_common_steps_change_no_spike_and_no_count_but_updates(path, spikes, target):
    program = compile_model(path, target, overrides=SMALL | {"core.state_memory": "4 KiB"})
    found = {sync: streamed(program, spikes, sync=sync) for sync in ("dataflow", "barrier")}
    for a, b in zip(*(sites(simulation) for simulation in found.values()), strict=True):
        np.testing.assert_array_equal(a, b)
    facts, counts = tree_facts(program), {}
    for sync, simulation in found.items():
        check_conservation(program, facts, simulation.state)
        counts[sync] = counters(program, facts, snapshot(simulation.state))
    updates = {sync: {} for sync in counts}
    for sync, by_operation in counts.items():
        for name in ("lif", "cubalif", "if"):
            updates[sync][name] = by_operation[name].pop("neuron_update")
    assert counts["dataflow"] == counts["barrier"]
    neurons = {"lif": 140, "cubalif": 90, "if": 10}
    steps = found["barrier"].steps
    assert updates["barrier"] == {name: n * steps for name, n in neurons.items()}
    # a step of the network leaves the host per barrier: they stream
    assert len(spikes) < steps < 2 * len(spikes)


def test_without_multicast_every_core_is_sent_a_message_of_its_own(path, spikes, small):
    program = compile_model(path, "toy", overrides=SMALL | {"abilities.multicast": "false"})
    many, one = streamed(small, spikes), streamed(program, spikes)
    for a, b in zip(sites(many), sites(one), strict=True):
        np.testing.assert_array_equal(a, b)
    facts = tree_facts(program)
    assert facts.fan_out.max() == 1 < tree_facts(small).fan_out.max()
    seen = [
        counters(p, tree_facts(p), snapshot(s.state)) for p, s in ((small, many), (program, one))
    ]
    for name in ("input", "lif"):
        with_, without = (found[name] for found in seen)
        assert without["msg_spike"] == without["delivered_spike"] == with_["delivered_spike"]
        assert with_["msg_spike"] < without["msg_spike"]


def test_a_chip_of_neurons_without_vector_units_runs_it(path, spikes, small):
    program = compile_model(path, "toy", overrides=BINARY)
    np.testing.assert_array_equal(simulated(program, spikes), simulated(small, spikes))
    assert set(program.codings.values()) == {("binary", 0)}
    with pytest.raises(Unsupported, match="cannot carry binary spikes") as caught:
        compile_model(path, "toy", overrides=BINARY | {"abilities.codings": '["graded"]'})
    assert caught.value.where == "input.spikes"


def test_a_network_that_reads_out_sums_needs_vector_work(tmp_path):
    path = written(tmp_path / "n.nir", affine(9, 8, 1), fired(8, 2), affine(8, 3, 3))
    with pytest.raises(Unsupported, match="vector work"):
        compile_model(path, "toy", overrides=BINARY)
    assert compile_model(path, "toy").ops[-1] == "output"


def test_neurons_that_all_spike_send_all_their_spikes(tmp_path):
    """All ones are spikes too, not a zero point."""
    import nir

    always = nir.Threshold(np.full(4, -1.0))
    path = written(tmp_path / "n.nir", affine(6, 4, 1, gain=0.1), always, affine(4, 3), fired(3))
    simulation = streamed(compile_model(path, "toy"), random_spikes(6, 5))
    found = counters(simulation.program, tree_facts(simulation.program), snapshot(simulation.state))
    assert found["affine_1"]["synop_add"] == 5 * 4 * 3


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A network of a few neurons in several blocks, its input, and what it answers."""
    nodes = (affine(9, 8, 1), lif(8, 2), affine(8, 3, 3), fired(3))
    path = written(tmp_path_factory.mktemp("nir") / "few.nir", *nodes)
    program = compile_model(path, "toy", overrides={"core.state_memory": "500 B"})
    assert sum(name.endswith("].spikes") for name in program.task_names) > 2
    spikes = random_spikes(9, 4)
    return program, spikes, sites(streamed(program, spikes))


COLUMNS = [c for c in Tables.__slots__ if c not in ("task_ps", "task_ring_ps")]


@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    name=st.sampled_from(COLUMNS),
    row=st.integers(0, 10**6),
    value=st.one_of(st.integers(-3, 60), st.integers(-(2**31), 2**31 - 1)),
)
def test_any_entry_changed_in_any_way_is_refused_found_out_or_harmless(few, name, row, value):
    program, spikes, wanted = few
    column = getattr(program.tables, name)
    cell = {row % column.size: value & 127 if column.dtype == np.int8 else value}
    try:
        found = sites(streamed(changed(program, **{name: cell}), spikes))
    except SpikeloomError:
        return
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_population_too_large_for_a_core_s_state_is_named(path):
    with pytest.raises(DoesNotFit, match="state"):
        compile_model(path, "toy", overrides={"core.state_memory": "40 B"})

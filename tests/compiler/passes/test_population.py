"""Blocks of neurons: each holds its own, asks no other, and sends its own spikes."""

from dataclasses import replace

import pytest

from compiler.frontends.read import read_model
from compiler.graph import Population
from compiler.passes.dataflow import verify
from compiler.passes.schedule import schedule, static_work
from hw_models.chip import load_chip
from hw_models.errors import Bug
from kernels.neurons import NEURONS
from tests.compiler.passes.steps import passes
from tests.spiking import network, written


def populations(neurons):
    return [s for s in neurons.graph.stages if isinstance(s, Population)]


def tasks_of(neurons, stage):
    return [(i, t) for i, t in enumerate(neurons.flow.tasks) if t.op == stage.name]


def test_blocks_hold_each_neuron_once_and_send_what_they_hold(neurons):
    for stage in populations(neurons):
        updates = [t.neurons for _, t in tasks_of(neurons, stage) if t.neurons]
        sends = [t.channels for _, t in tasks_of(neurons, stage) if t.channels]
        assert sorted(updates) == sorted(sends)
        assert [c for lo, n in sorted(updates) for c in range(lo, lo + n)] == list(range(stage.n))
    assert len([t for _, t in tasks_of(neurons, populations(neurons)[0])]) > 4


def test_no_block_hears_of_another(neurons):
    """Sums come from tiles, and what a block tells itself stays on its core."""
    home = {task: i for i, unit in enumerate(neurons.flow.units) for task in unit.tasks}
    for stage in populations(neurons):
        mine = {i for i, _ in tasks_of(neurons, stage)}
        for net in neurons.flow.nets:
            if mine & set(net.sinks) and net.message == "value":
                assert {home[s] for s in net.sinks} == {home[net.source]}


def test_state_is_what_the_equations_carry_and_sequences_need_only_their_variables(neurons):
    slots = neurons.chip.core.token_slots
    for stage in populations(neurons):
        kind = NEURONS[stage.neuron]
        units = [u for u in neurons.flow.units if u.op == stage.name]
        sums = 8 * slots + 8  # int64 per slot; row scale and bias
        each = sums + 4 * (len(kind.parameters) + len(kind.state))
        assert sum(u.state_bytes for u in units) == stage.n * each
        assert sum(u.stream_bytes for u in units) == stage.n * 4 * len(kind.state)
        assert sum(u.neurons for u in units) == stage.n


def test_a_step_costs_one_update_per_neuron_and_nothing_else(neurons):
    for stage in populations(neurons):
        for _, task in tasks_of(neurons, stage):
            n = task.neurons[1] if task.neurons else 0
            assert static_work(task) == ({"neuron_update": n} if n else {}, {})


def test_the_host_sends_every_channel_to_every_tile_that_has_it_and_reads_the_last_spikes(neurons):
    flow = neurons.flow
    verify(flow, neurons.graph)
    hosted = [i for i, t in enumerate(flow.tasks) if t.on_host]
    sent = [net for net in flow.nets if net.source in hosted and net.message == "spike"]
    assert sum(net.n for net in sent) == 150
    assert all(flow.tasks[s].tile is not None for net in sent for s in net.sinks)
    last = populations(neurons)[-1]
    read = [net for net in flow.nets if flow.tasks[net.source].op == last.name and
            net.message == "spike"]  # fmt: skip
    assert sum(net.n for net in read) == last.n
    assert {flow.tasks[s].name for net in read for s in net.sinks} == {"host.logits"}


def test_a_missing_net_of_spikes_or_sums_is_found(neurons):
    for i, net in enumerate(neurons.flow.nets):
        sinks = [neurons.flow.tasks[s] for s in net.sinks]
        if net.message == "partial" or any(t.tile is not None for t in sinks):
            without = neurons.flow.nets[:i] + neurons.flow.nets[i + 1 :]
            with pytest.raises(Bug, match=r"axons driven|sums sent"):
                verify(replace(neurons.flow, nets=without), neurons.graph)


def test_spikes_to_the_host_take_its_link_and_no_encoder_s_time(neurons):
    n = neurons
    tables = schedule(n.graph, n.flow, n.packed, n.placed, n.trees, n.tables, n.chip)
    sends = [i for i, t in enumerate(n.flow.tasks) if not t.encodes]
    assert sends and not tables.task_ps[sends].any()


@pytest.fixture(scope="module")
def at_home(tmp_path_factory):
    """The same on a chip of neurons, several cores per population."""
    path = written(tmp_path_factory.mktemp("nir") / "three.nir", *network())
    return passes(read_model(path)[0], load_chip("loihi1", {"core.synapse_memory": "4 KiB"}))


def test_on_cores_of_neurons_they_live_at_their_synapses_and_no_sum_travels(at_home):
    flow, packed = at_home.flow, at_home.packed
    verify(flow, at_home.graph)
    core_of = {t: packed.core_of[i] for i, unit in enumerate(flow.units) for t in unit.tasks}
    sums = [net for net in flow.nets if net.message == "partial"]
    assert sums and all({core_of[s] for s in net.sinks} == {core_of[net.source]} for net in sums)
    for linear in at_home.graph.linears:
        tiles = [t.tile for t in flow.tasks if t.tile and t.tile.linear == linear.name]
        assert {(tile.pre, tile.n_pre) for tile in tiles} == {(0, linear.n_pre)}
    assert packed.n_cores > 6


def test_a_unit_of_synapses_and_neurons_takes_the_memory_of_both(at_home):
    slots = at_home.chip.core.token_slots
    for unit in at_home.flow.units:
        if not unit.on_host:
            tile = at_home.flow.tasks[unit.tasks[0]].tile
            stage = next(s for s in populations(at_home) if s.linear == tile.linear)
            kind = NEURONS[stage.neuron]
            groups = -(-tile.n_pre // 128)
            # mantissas and accumulators; sums, scale and bias; parameters and state
            each = groups * (2 + 4 * slots) + 8 * slots + 8
            each += 4 * (len(kind.parameters) + len(kind.state))
            assert unit.state_bytes == tile.n_post * each
            assert (unit.synapse_bytes, unit.in_axons) == (tile.n_pre * tile.n_post, tile.n_pre)
            assert unit.stream_bytes == 4 * len(kind.state) * tile.n_post


def test_where_a_core_has_no_room_for_both_they_live_apart(tmp_path):
    path = written(tmp_path / "three.nir", *network())
    sizes = {"core.synapse_memory": "4 KiB", "core.state_memory": "1 KiB"}
    flow = passes(read_model(path)[0], load_chip("loihi1", sizes)).flow
    assert any(not unit.synapse_bytes and unit.neurons for unit in flow.units)

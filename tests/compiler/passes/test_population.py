"""Blocks of neurons: each holds its own, asks no other, and sends its own spikes."""

from dataclasses import replace

import pytest

from compiler.graph import Population
from compiler.passes.dataflow import verify
from compiler.passes.schedule import schedule, static_work
from hw_models.errors import Bug
from kernels.neurons import NEURONS


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

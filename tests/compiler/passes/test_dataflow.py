"""Whoever awaits something is sent it; the verifier misses no net of spikes or sums."""

from collections import Counter
from dataclasses import replace

import pytest

from compiler.graph import Gla, Swiglu, Window, outputs
from compiler.passes.dataflow import verify
from hw_models.errors import Bug


def without(flow, which):
    return replace(flow, nets=flow.nets[:which] + flow.nets[which + 1 :])


def swapped(flow, which, **changes):
    nets = list(flow.nets)
    nets[which] = replace(nets[which], **changes)
    return replace(flow, nets=tuple(nets))


def of_class(flow, *classes):
    return [i for i, net in enumerate(flow.nets) if net.message in classes]


def test_a_missing_net_of_spikes_or_sums(small):
    verify(small.flow, small.graph)
    for which in of_class(small.flow, "spike", "partial"):
        with pytest.raises(Bug, match=r"axons driven|sums sent"):
            verify(without(small.flow, which), small.graph)


def test_a_net_one_channel_short_or_long(small):
    for which in of_class(small.flow, "spike", "partial")[::7]:
        for n in (small.flow.nets[which].n - 1, small.flow.nets[which].n + 1):
            with pytest.raises(Bug, match=r"axons driven|sums sent"):
                verify(swapped(small.flow, which, n=n), small.graph)


def test_a_net_that_forgets_one_of_its_tiles(small):
    wide = [i for i in of_class(small.flow, "spike") if len(small.flow.nets[i].sinks) > 1]
    assert wide
    for which in wide:
        with pytest.raises(Bug, match="axons driven"):
            verify(swapped(small.flow, which, sinks=small.flow.nets[which].sinks[1:]), small.graph)


def test_neurons_without_a_home(small):
    homes = [i for i, t in enumerate(small.flow.tasks) if t.neurons is not None and t.gathers]
    for i in homes:
        tasks = list(small.flow.tasks)
        lo, n = tasks[i].neurons
        for wrong in (None, (lo, n - 1), (lo + 1, n)):
            tasks[i] = replace(tasks[i], neurons=wrong)
            with pytest.raises(Bug, match="home"):
                verify(replace(small.flow, tasks=tuple(tasks)), small.graph)


def test_needs_are_what_the_nets_send(tiny):
    """Recounted from the other side: per task, per token of one round of the rings."""
    periods = max(t.ring.period for t in tiny.flow.tasks if t.ring is not None)
    assert periods == 2
    for token in range(periods):
        due = Counter()
        for net in tiny.flow.nets:
            if net.residue in (-1, token % net.period):
                for sink in net.sinks:
                    due[sink] += 1 if net.message == "spike" else net.n
        for i, task in enumerate(tiny.flow.tasks):
            in_ring = task.ring is not None and token % task.ring.period == task.ring.residue
            assert due[i] == task.need + (task.extra if in_ring else 0), task.name


def test_every_channel_is_encoded_once_and_every_task_has_one_unit(small):
    for stage in small.graph.stages[:-1]:
        mine = sorted(
            t.channels for t in small.flow.tasks if t.op == stage.name and t.channels is not None
        )
        covered = [c for lo, n in mine for c in range(lo, lo + n)]
        assert covered == list(range(outputs(stage)))
    owners = Counter(task for unit in small.flow.units for task in unit.tasks)
    assert owners == Counter(range(len(small.flow.tasks)))


def test_state_of_a_token_is_held_by_the_units_that_need_it(small):
    """Recurrent state, in bytes, can be no less than what the operations keep."""
    for stage in small.graph.stages:
        held = sum(u.state_bytes for u in small.flow.units if u.op == stage.name)
        if isinstance(stage, Gla):
            assert held >= 4 * stage.heads * stage.head_dim**2
        if isinstance(stage, Window):
            assert held >= stage.window * stage.kv_heads * 2 * (stage.head_dim + 4)
        if isinstance(stage, Swiglu):
            assert held >= 2 * stage.n * 8 * small.chip.core.token_slots

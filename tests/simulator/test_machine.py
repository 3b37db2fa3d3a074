"""A program laid out as arrays: weights by axon, offsets without overlap, room that grows."""

import numpy as np
import pytest

from compiler.audit.trees import tree_of_sink
from compiler.program import TILE, VECTOR
from hw_models.errors import BadInput
from simulator import machine
from simulator.drive import Simulation
from simulator.growth import enlarged
from simulator.hot import state as h
from simulator.machine import fixed_arrays, fresh_state, header_bits
from tests.compiler.passes.steps import passes
from tests.small import assert_equal, model, reference
from tests.tiny import TINY, tiny


@pytest.fixture(scope="module")
def fixed():
    return fixed_arrays(tiny(), 2)


def test_a_tile_holds_its_block_of_the_matrix_axon_by_axon(fixed):
    t = tiny().tables
    seen = 0
    for task in np.flatnonzero(t.task_kind == TILE):
        linear = tiny().graph.linears[t.task_linear[task]]
        arrays = tiny().linears[linear.name]
        n_pre, n = t.task_n_pre[task], t.task_neuron_n[task]
        first, pre = t.task_neuron_lo[task], t.task_pre[task]
        at = fixed.task[task, h.WEIGHT]
        for axon in range(n_pre):
            row = fixed.weight[at + axon * n : at + (axon + 1) * n]
            assert row.tolist() == arrays.q[first : first + n, pre + axon].tolist()
        at = fixed.task[task, h.MANTISSA]
        for group in range(-(-n_pre // 128)):
            row = fixed.mantissa[at + group * n : at + (group + 1) * n]
            assert row.tolist() == arrays.m[first : first + n, pre // 128 + group].tolist()
        seen += n_pre * n
    assert seen == fixed.weight.size == sum(a.q.size for a in tiny().linears.values())


@pytest.mark.parametrize("slots", [1, 3])
def test_inputs_and_sums_of_tasks_and_slots_do_not_overlap(slots):
    fixed = fixed_arrays(tiny(), slots)
    state = fresh_state(tiny(), fixed, 0, False, 4)
    for kind, room in ((TILE, state.inputs.size), (VECTOR, state.home.size)):
        taken = np.zeros(room, int)
        for row in fixed.task[fixed.task[:, h.KIND] == kind]:
            size = slots * row[h.N_PRE if kind == TILE else h.NEURON_N]
            taken[row[h.SUMS] : row[h.SUMS] + size] += 1
        assert taken.tolist() == [1] * room


def test_trees_reach_what_the_nets_were_meant_for():
    chip = tiny().chip
    flow = passes(model(0, TINY)[0], chip).flow
    tree = tree_of_sink(tiny().tables)
    for i, net in enumerate(flow.nets):
        assert sorted(tiny().tables.sink_task[tree == i]) == sorted(net.sinks)


def test_barrier_sync_needs_the_length_of_a_barrier():
    program = tiny(timing__barrier_ps="0 ps")
    fixed_arrays(program, 2)
    with pytest.raises(BadInput, match="toy does not say how long a barrier takes") as caught:
        fixed_arrays(program, 2, "barrier")
    assert "timing.barrier_ps" in caught.value.where and "--set" in caught.value.fix


def test_a_step_has_the_updates_that_firing_has_no_longer():
    """Per core: what its tasks would take for one token each, less what is left of it."""
    flow, steps = (fixed_arrays(tiny(), 2, sync) for sync in ("dataflow", "barrier"))
    cores = dict.fromkeys(range(tiny().host_core + 1), 0)
    for task, (before, after) in enumerate(zip(flow.task, steps.task, strict=True)):
        neurons = before[h.NEURON_N] if before[h.KIND] == VECTOR else 0
        assert before[h.PS] - after[h.PS] == neurons * tiny().chip.timing.update_ps
        assert after[h.PS] >= 0
        cores[int(tiny().tables.task_core[task])] += before[h.PS] - after[h.PS]
    assert {core: ps for core, ps in cores.items() if ps} == {
        int(core): int(ps) for core, ps in steps.used_core if ps
    }
    assert not flow.used_core[:, h.U_PS].any()


def test_headers_are_those_of_the_chip():
    """toy: a spike 24 bits, a sum 64, a value 32, a marker 32 and its payload of 96."""
    found = [header_bits(tiny(), m) for m in ("spike", "partial", "value", "marker")]
    assert found == [24, 64, 32, 32 + 96]


def test_more_room_changes_nothing_that_is_there(fixed):
    state = fresh_state(tiny(), fixed, 0, False, 4)
    state.heap[:] = np.arange(state.heap.size).reshape(state.heap.shape)
    state.reg[h.R_FREE] -= 3  # three records in use: the last three of the free list
    used = set(state.message_free[state.reg[h.R_FREE] :].tolist())
    grown = enlarged(state)
    room = state.heap.shape[0]
    assert grown.heap.shape[0] == 2 * room
    assert (grown.heap[:room] == state.heap).all()
    free = grown.message_free[: grown.reg[h.R_FREE]].tolist()
    assert len(set(free)) == len(free) == 2 * room - 3
    assert set(free) == set(range(2 * room)) - used
    assert (grown.inputs == state.inputs).all()


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_a_machine_that_begins_with_little_room_gets_more(monkeypatch, sync):
    honest = machine.margin_of
    monkeypatch.setattr(machine, "margin_of", lambda program: honest(program) // 4)
    simulation = Simulation(tiny(), sync=sync, keep_sums=True)
    before = simulation.state.heap.shape[0]
    text = tuple(range(20)) * 2
    for token in text:
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    assert simulation.state.heap.shape[0] > before
    assert_equal(simulation, reference(0, TINY, text))


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_records_are_all_free_again_when_a_run_is_over(sync):
    simulation = Simulation(tiny(), sync=sync)
    for token in (3, 17, 8):
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    state = simulation.state
    room = state.heap.shape[0]
    for register in (h.R_FREE, h.R_FREE_VALUES, h.R_FREE_PARKED):
        assert state.reg[register] == room
    assert state.reg[h.R_HEAP] == 0
    assert not state.inputs.any() and not state.home.any() and not state.received.any()
    assert (state.queue[:, :, 0] == -1).all()
    assert sorted(state.message_free.tolist()) == list(range(room))

"""Feeding tokens to a program: order, limits, and errors that name what went wrong."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from compiler.program import VECTOR
from hw_models.errors import BadInput, Bug, DoesNotFit
from simulator import drive
from simulator.drive import Simulation
from simulator.hot import state as hot
from tests.experts import program as experts
from tests.small import assert_equal, reference
from tests.timing.story import chip as story_chip
from tests.timing.story import layer
from tests.tiny import TINY, tiny

TEXT = (3, 17, 17, 8, 0, 19)


def finished(simulation):
    return [(token, ps) for token, ps, _ in simulation.advance() if token >= 0]


def started(text=TEXT, program=None, **options):
    simulation = Simulation(program or tiny(), keep_sums=True, **options)
    for token in text:
        simulation.start(token, 0)
    return simulation


def test_logits_come_in_token_order_and_time_goes_on():
    simulation = started()
    seen = finished(simulation)
    assert [token for token, _ in seen] == list(range(len(TEXT)))
    times = [ps for _, ps in seen]
    assert times == sorted(times) and times[0] > 0
    assert simulation.now_ps >= times[-1]
    assert simulation.found.logits_ps == dict(seen)
    assert simulation.events > 1000


def test_tokens_started_later_continue_the_sequence():
    simulation = started(TEXT[:2])
    finished(simulation)
    for token in TEXT[2:]:
        simulation.start(token, simulation.now_ps + 10**9)
    assert [token for token, _ in finished(simulation)] == [2, 3, 4, 5]
    assert_equal(simulation, reference(0, TINY, TEXT))


def test_waiting_before_a_start_shifts_it_and_changes_nothing_else():
    late = Simulation(tiny(), keep_sums=True)
    late.start(TEXT[0], 123_456)
    early = started(TEXT[:1])
    ((_, late_ps),), ((_, early_ps),) = finished(late), finished(early)
    assert late_ps == early_ps + 123_456


def test_the_head_runs_from_the_token_it_is_asked_for():
    wanted = reference(0, TINY, TEXT)
    simulation = started(first_logits=4)
    assert [token for token, _ in finished(simulation)] == [4, 5]
    found = simulation.found
    assert sorted(found.logits) == [4, 5]
    assert (found.logits[4] == wanted[4].logits).all()
    assert (found.logits[5] == wanted[5].logits).all()
    head = tiny().graph.linears[-1]
    assert len(found.activity.counts[head.site]) == len(found.sums[head.name]) == 2
    assert len(found.activity.counts["layers.0.attn_in"]) == len(TEXT)


@pytest.mark.parametrize("slots", [0, -1, 3])
def test_slots_beyond_those_compiled_for(slots):
    with pytest.raises(BadInput, match=f"{slots} token slots; the program was compiled for 2"):
        Simulation(tiny(), slots=slots)


@pytest.mark.parametrize("token", [-1, 20, 10**9])
def test_a_token_that_the_vocabulary_lacks_is_named(token):
    simulation = started(TEXT[:2])
    with pytest.raises(BadInput, match=f"token id {token}; the vocabulary has 20") as caught:
        simulation.start(token, 0)
    assert caught.value.where == "token 2"


def test_a_caller_gets_a_word_now_and_then(monkeypatch):
    monkeypatch.setattr(drive, "BATCH", 300)
    simulation = started()
    seen = [(token, ps, logits.size) for token, ps, logits in simulation.advance()]
    pauses = [ps for token, ps, size in seen if token == -1 and size == 0]
    assert len(pauses) > 5
    assert pauses == sorted(pauses)
    assert_equal(simulation, reference(0, TINY, TEXT))


def test_torch_gets_its_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        simulation = started(TEXT[:1])
        during = [torch.get_num_threads() for _ in simulation.advance()]
        assert during == [1]
        assert torch.get_num_threads() == 2
        broken = started(TEXT[:1])
        broken.state.received[:] = 1
        with pytest.raises(Bug):
            list(broken.advance())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# what a machine can get wrong, and what the run says of it


def test_a_lost_spike_is_told_by_its_marker():
    """One spike more on a tree than the marker announces, as if one had been lost or doubled."""
    simulation = started()
    t = tiny().tables
    sink = int(np.flatnonzero(t.task_kind[t.sink_task] == 0)[0])
    simulation.state.received[sink, 0] = 1
    with pytest.raises(Bug, match=r"the marker announces (\d+) spikes, \d+ arrived") as caught:
        list(simulation.advance())
    task, core = t.sink_task[sink], int(t.sink_core[sink])
    operation, name = tiny().ops[t.task_op[task]], tiny().task_names[task]
    assert caught.value.where == f"operation {operation}, task {name}, core {core}, token 0"


def test_a_spike_for_an_axon_that_is_not_there():
    simulation = started()
    spikes = np.flatnonzero(tiny().tables.task_kind[simulation.fixed.sink[:, hot.S_TASK]] == 0)
    simulation.fixed.sink[spikes, hot.S_BASE] = 500
    with pytest.raises(Bug, match=r"core \d+ has no axon 5\d\d here"):
        list(simulation.advance())


def test_a_sum_for_a_neuron_that_is_not_there():
    simulation = started()
    simulation.fixed.sink[:, hot.S_BASE] -= 10**6 * (simulation.fixed.sink[:, hot.S_BASE] < 0)
    homes = np.flatnonzero(tiny().tables.task_neuron_n[simulation.fixed.sink[:, hot.S_TASK]] > 0)
    tiles = tiny().tables.task_kind[simulation.fixed.sink[:, hot.S_TASK]] == 0
    simulation.fixed.sink[tiles, hot.S_BASE] = tiny().tables.sink_base[tiles]
    simulation.fixed.sink[homes[~tiles[homes]], hot.S_BASE] = 10**6
    with pytest.raises(Bug, match=r"a partial sum for neuron 10\d+ reached core \d+"):
        list(simulation.advance())


def test_a_partial_sum_wider_than_its_message():
    simulation = started()
    simulation.fixed.linear[:, hot.L_BITS] = 8
    with pytest.raises(DoesNotFit, match=r"partial sum -?\d+ of neuron \d+ is too wide") as caught:
        list(simulation.advance())
    assert caught.value.where.startswith("operation layers.0.qkvg, task layers.0.qkvg[")


def test_counts_that_overflow_an_accumulator_are_named():
    """Three counts of 2^30 and weights of 1; the second spike is one too many."""
    most = 2.0**30
    program = layer([(most,) * 3])._program(story_chip())
    program = replace(program, vectors={"weight": np.full(3, 2.0**17, np.float32)})
    simulation = Simulation(program)
    simulation.start(0, 0)
    with pytest.raises(DoesNotFit, match=f"neuron 0 would be {2**31}, beyond int32") as caught:
        list(simulation.advance())
    assert caught.value.where == "operation linear, task tile 0, core 2, token 0"


def test_the_largest_sum_that_an_accumulator_holds_is_right():
    program = layer([(2.0**30, 2.0**30 - 64)])._program(story_chip())
    program = replace(program, vectors={"weight": np.full(2, 2.0**17, np.float32)})
    simulation = Simulation(program, keep_sums=True)
    simulation.start(0, 0)
    list(simulation.advance())
    (counts,), (sums,) = simulation.found.activity.counts["site"], simulation.found.sums["linear"]
    assert 2**31 - 1024 < counts.astype(np.int64).sum() < 2**31
    assert sums.tolist() == [counts.astype(np.int64).sum()]


def test_a_sum_of_partial_sums_beyond_int64_is_named():
    simulation = started()
    simulation.state.home[:] = 2**63 - 1
    with pytest.raises(DoesNotFit, match=f"partial sum {2**63 - 1} of neuron") as caught:
        list(simulation.advance())
    assert caught.value.where.startswith("operation layers.0.")


def test_a_sum_wider_than_the_message_that_passes_it_on_is_named():
    simulation, t = started(program=experts("wide")), experts("wide").tables
    passing = (t.task_kind == VECTOR) & (t.task_neuron_n > 0) & (t.task_gathers < 0)
    simulation.state.home[simulation.fixed.task[passing, hot.SUMS]] = 2**50
    with pytest.raises(DoesNotFit, match=r"partial sum 1125\d+ of neuron \d+ is too wide"):
        list(simulation.advance())


def test_an_empty_queue_names_the_open_task_and_its_trees():
    simulation = started()
    task = tiny().task_names.index("layers.0.mlp_norm[0]")
    simulation.fixed.task[task, hot.NEED] += 1
    with pytest.raises(Bug, match="token 0 never finished: got") as caught:
        list(simulation.advance())
    assert "task layers.0.mlp_norm[0], core" in caught.value.where
    assert "operation layers.0.mlp_norm" in caught.value.where
    assert "of layers.0.o[0,0]" in caught.value.what


def test_a_task_that_awaits_too_little_is_late_or_too_full():
    simulation = started()
    task = tiny().task_names.index("layers.0.mlp_norm[0]")
    simulation.fixed.task[task, hot.NEED] -= 1
    with pytest.raises(Bug, match=r"more than it awaits|after the token had fired"):
        list(simulation.advance())


@pytest.mark.parametrize("slots", ["1", "2", "8"])
@pytest.mark.parametrize("in_flight", [1, 8, 40])
@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_more_tokens_than_were_announced_are_right_or_refused(slots, in_flight, sync):
    """A row of operands or counts is never taken while a token still needs it."""
    text = TEXT * 7
    program = tiny(core__token_slots=slots, core__state_memory="8 KiB")
    simulation = started(text, program, in_flight=in_flight, sync=sync)
    try:
        finished(simulation)
    except DoesNotFit as refusal:
        assert in_flight < 40 and (slots, sync) != ("1", "dataflow")
        assert "for token" in refusal.what and "still in use" in refusal.what
        assert "--slots 1" in refusal.fix
        return
    assert_equal(simulation, reference(0, TINY, text))


@pytest.mark.parametrize("coding", ["ternary", "bitwise"])
def test_counts_are_kept_until_the_last_symbol_has_left(coding):
    """Barrier sync, room for 16 tokens: norms run ahead of the trains that encoders send."""
    refused = []
    for n in range(16, 24):
        text = (TEXT * 4)[:n]
        simulation = started(text, tiny(coding), in_flight=16, sync="barrier")
        try:
            finished(simulation)
        except DoesNotFit:
            refused.append(n)
        else:
            assert_equal(simulation, reference(0, TINY, text))
    assert refused and refused == list(range(refused[0], 24)) and refused[0] > 16


def test_the_trace_accounts_for_every_busy_picosecond():
    rows = []
    simulation = Simulation(tiny(), trace=rows.append)
    for token in TEXT:
        simulation.start(token, 0)
    finished(simulation)
    simulation.flush_trace()
    table = np.concatenate(rows)
    busy = Counter()
    for time, duration, event, place, *_ in table.tolist():
        assert time >= 0 and duration >= 0
        if event in (hot.T_SERVE, hot.T_FIRE):
            busy[place] += duration
    wanted = simulation.state.core[:, hot.BUSY]
    assert {c: n for c, n in busy.items() if n} == {
        int(c): int(wanted[c]) for c in np.flatnonzero(wanted)
    }


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_tracing_changes_nothing(sync):
    rows = []
    traced = started(trace=rows.append, sync=sync)
    plain = started(sync=sync)
    assert finished(traced) == finished(plain)
    assert (traced.state.link == plain.state.link).all()
    assert_equal(traced, reference(0, TINY, TEXT))


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_a_core_does_one_thing_at_a_time(sync):
    rows = []
    simulation = started(trace=rows.append, sync=sync)
    finished(simulation)
    simulation.flush_trace()
    table = np.concatenate(rows)
    work = table[np.isin(table[:, 2], (hot.T_SERVE, hot.T_FIRE))]
    for core in np.unique(work[:, 3]):
        mine = work[work[:, 3] == core]
        mine = mine[np.lexsort((mine[:, 0] + mine[:, 1], mine[:, 0]))]
        assert (mine[1:, 0] >= mine[:-1, 0] + mine[:-1, 1]).all(), core

"""Steps under barrier sync whose messages cross together: the run of the event queue, in full."""

from unittest.mock import patch

import numpy as np
import pytest

import simulator.noc
from compiler.pipeline import compile_model
from hw_models.errors import BadInput, DoesNotFit
from simulator.drive import Simulation
from simulator.hot import state as h
from simulator.hot.noc import DONE, TOO_LONG
from simulator.state_check import check_state
from simulator.workload import profile
from tests import experts
from tests.spiking import affine, fired, lif, random_spikes, written
from tests.tiny import tiny

TEXT = (3, 17, 17, 8, 0, 19)
TABLES = ("core", "link", "progress", "got", "tree_sent", "sink_got", "received", "counts")


def ran(program, inputs, **options):
    """A simulation of all of the inputs at once, its trace, and when logits came."""
    rows = []
    simulation = Simulation(program, sync="barrier", trace=rows.append, **options)
    for one in inputs:
        simulation.start(one, 0)
    for _ in simulation.advance():
        pass
    simulation.flush_trace()
    return simulation, np.concatenate(rows)


def alike(program, inputs, **options):
    (waves, traced), (queue, wanted) = (
        ran(program, inputs, waves=on, **options) for on in (True, False)
    )
    assert waves.fixed.service[h.WAVES] == 1 and queue.fixed.service[h.WAVES] == 0
    for name in TABLES:
        found, other = getattr(waves.state, name), getattr(queue.state, name)
        np.testing.assert_array_equal(found, other, name)
    np.testing.assert_array_equal(traced, wanted)
    assert (waves.now_ps, waves.steps, waves.events) == (queue.now_ps, queue.steps, queue.events)
    assert waves.found.logits_ps == queue.found.logits_ps
    for token, logits in queue.found.logits.items():
        np.testing.assert_array_equal(waves.found.logits[token], logits)


@pytest.mark.parametrize("coding", ["bitwise", "ternary", "graded"])
@pytest.mark.parametrize("slots", [1, 2])
def test_a_run_is_the_queues_event_by_event(coding, slots):
    alike(tiny(coding), TEXT, slots=slots)


def test_so_it_is_where_cores_take_no_time():
    """Sets are then released in the very picosecond in which messages are taken in."""
    zero = {
        f"timing__{name}": "0 ps"
        for name in ("axon_ps", "row_ps", "synop_ps", "update_ps", "encode_ps", "vector_ps")
    }
    alike(tiny(**zero, timing__partial_ps="0 ps", timing__value_ps="0 ps"), TEXT, slots=2)


@pytest.mark.parametrize("target", ["loihi-like", "isaac-like"])
def test_so_it_is_on_other_targets(target):
    alike(tiny(target=target, timing__barrier_ps="100 ns"), TEXT)


def test_so_it_is_of_spiking_neurons(tmp_path):
    path = written(
        tmp_path / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3, gain=3), fired(4)
    )
    alike(compile_model(path, "toy"), random_spikes(12, 30), in_flight=30)


def test_so_it_is_of_counts_alone():
    alike(tiny(), [0] * 5, workload=profile(tiny(), prompt=5, tokens=1))


@pytest.mark.parametrize("counted", [False, True])
def test_so_it_is_of_experts(counted):
    program = experts.program("two of five")
    more = {"workload": profile(program, prompt=10, tokens=1)} if counted else {}
    alike(program, experts.TEXT, **more)


def test_a_step_that_lasts_too_long_for_keys_goes_to_the_queue():
    """The first and every third wave are refused; what follows is as if nothing had happened."""
    real, calls = simulator.noc.carry, []

    def fussy(*about):
        calls.append(about)
        return (TOO_LONG, 0, 0, 0) if len(calls) % 3 == 1 else real(*about)

    with patch.object(simulator.noc, "carry", fussy):
        alike(tiny(), TEXT)
    assert len(calls) > 30


def test_hours_of_a_step_are_refused_by_the_evaluation_itself():
    slow = tiny(link__chip_x__hop_ps="200000 s")
    statuses, real = [], simulator.noc.carry

    def watched(*arguments):
        found = real(*arguments)
        statuses.append(found[0])
        return found

    with patch.object(simulator.noc, "carry", watched):
        alike(slow, TEXT[:1])
    assert {DONE, TOO_LONG} == set(statuses)


def test_under_dataflow_cores_answer_at_once_and_the_queue_stays():
    assert Simulation(tiny()).fixed.service[h.WAVES] == 0


@pytest.mark.parametrize(
    ("column", "change", "array"),
    [
        (h.W_NODE, 1, "wave"),  # not the root of its tree
        (h.W_MESSAGE, 1 << 30, "wave"),
        (h.W_MESSAGE, -1, "wave"),
        (None, h.R_WAVE, "reg"),
        (None, h.R_DUE, "due"),  # messages that are free
    ],
)
def test_a_wave_from_a_file_goes_from_its_own_roots(column, change, array):
    simulation, fresh = Simulation(tiny(), sync="barrier"), Simulation(tiny(), sync="barrier").state
    simulation.start(3, 0)
    state = simulation.state
    assert state.reg[h.R_WAVE] > 1
    check_state(simulation.fixed, state, fresh, 1)
    if column is None:
        state.reg[change] = state.due.shape[0] + 1 if change == h.R_WAVE else 1
        state.due[0, 1] = int(state.message_free[0])
    else:
        state.wave[0, column] += change
    with pytest.raises(BadInput) as caught:
        check_state(simulation.fixed, state, fresh, 1)
    assert caught.value.where == f"engine array {array}"


def test_a_run_of_months_is_refused_before_its_times_run_over():
    with pytest.raises(DoesNotFit, match="of simulated time; 2305843 s at most"):
        ran(tiny(link__chip_x__hop_ps="900000 s"), TEXT[:1], waves=True)

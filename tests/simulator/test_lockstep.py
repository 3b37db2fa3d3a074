"""Layer by layer and without events, a network does what it does in the event engine."""

import numpy as np
import pytest

from compiler.pipeline import compile_model
from hw_models.errors import BadInput, Unsupported
from simulator.hot import state as hot
from simulator.lockstep import Lockstep
from tests.spiking import affine, cubalif, fired, lif, network, random_spikes, streamed, written
from tests.tiny import tiny

SMALL = {"core.synapse_memory": "1536 B", "core.state_memory": "1536 B", "core.neurons": "64"}
TARGETS = [
    ("toy", SMALL),
    ("loihi-like", {}),
    ("loihi1", {}),
    ("loihi1", {"core.synapse_memory": "8 KiB"}),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(tmp_path_factory.mktemp("nir") / "three.nir", *network())


@pytest.fixture(scope="module", params=TARGETS, ids=lambda p: f"{p[0]}-{len(p[1])}")
def pair(request, path):
    program = compile_model(path, request.param[0], overrides=request.param[1])
    spikes = random_spikes(150)
    lockstep = Lockstep(program)
    return lockstep, lockstep.run(spikes, keep_busy=True), streamed(program, spikes)


def test_spikes_are_the_event_engine_s(pair):
    _, steps, simulation = pair
    found = [np.stack(rows) for rows in simulation.found.activity.counts.values()]
    np.testing.assert_array_equal(steps.raster, np.concatenate(found, axis=1))
    outputs = [simulation.found.logits[step] for step in range(len(steps.outputs))]
    np.testing.assert_array_equal(steps.outputs, np.stack(outputs))


def test_loihi_s_neurons_compute_the_same_integers(tmp_path):
    from compiler.frontends.nir import Stepping

    path = written(tmp_path / "three.nir", *network())
    program = compile_model(path, "loihi1", stepping=Stepping(integration="loihi"))
    spikes = random_spikes(150, 40)
    logits = streamed(program, spikes).found.logits
    found = Lockstep(program).run(spikes).outputs
    np.testing.assert_array_equal(found, np.stack([logits[t] for t in range(len(spikes))]))
    assert 0.01 < found.mean() < 0.9


def test_messages_and_deliveries_are_the_event_engine_s(pair):
    """Per tree and sink; local deliveries take no link and are not among a tree's messages."""
    lockstep, steps, simulation = pair
    ways, state = lockstep.ways, simulation.state
    got = np.zeros(state.sink_got.shape[0], np.int64)
    np.add.at(got, ways.sink, steps.fired.sum(0)[ways.part])
    np.testing.assert_array_equal(got, state.sink_got[:, hot.SPIKE])
    sent = np.zeros(state.tree_sent.shape[0], np.int64)
    pairs = np.unique(np.stack([ways.part, ways.tree]), axis=1)
    np.add.at(sent, pairs[1], steps.fired.sum(0)[pairs[0]])
    remote = lockstep.program.tables.tree_root >= 0
    np.testing.assert_array_equal(sent[remote], state.tree_sent[remote, hot.SPIKE])


def test_counts_of_parts_add_up_to_the_raster(pair):
    lockstep, steps, _ = pair
    ends = lockstep.parts.first + lockstep.parts.size
    for k, (lo, hi) in enumerate(zip(lockstep.parts.first, ends, strict=True)):
        np.testing.assert_array_equal(steps.fired[:, k], steps.raster[:, lo:hi].sum(1))
        np.testing.assert_array_equal(steps.active[:, k], steps.busy[:, lo:hi].sum(1))
    assert sorted(ends)[-1] == steps.raster.shape[1] == lockstep.parts.size.sum()


def test_a_neuron_without_input_bias_and_potential_has_nothing_to_do(tmp_path):
    from nir import Affine

    weight = np.eye(3, dtype=np.float32)
    path = written(tmp_path / "n.nir", Affine(weight, np.array([0, 0, 0.25])), fired(3))
    lockstep = Lockstep(compile_model(path, "loihi1"))
    spikes = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    busy = lockstep.run(spikes, keep_busy=True).busy[:, 3:]
    # a bias; a spike's list holds its own neuron only; then the first still has a potential
    np.testing.assert_array_equal(busy, [[0, 0, 1], [1, 0, 1], [1, 0, 1]])


def test_a_run_goes_on_where_the_last_one_ended(path):
    program, spikes = compile_model(path, "loihi1"), random_spikes(150)
    whole, cut = Lockstep(program), Lockstep(program)
    parts = [cut.run(spikes[:7]), cut.run(spikes[7:])]
    np.testing.assert_array_equal(
        whole.run(spikes).raster, np.concatenate([part.raster for part in parts])
    )


def test_membranes_are_told_where_nothing_spikes(tmp_path):
    import nir

    nodes = [affine(30, 20, 1), lif(20, 2), affine(20, 6, 3), cubalif(6, 4), affine(6, 4, 5)]
    silent = nir.LI(tau=np.full(4, 5e-4), r=np.ones(4), v_leak=np.full(4, 0.125))
    program = compile_model(written(tmp_path / "n.nir", *nodes, silent), "toy")
    spikes = random_spikes(30)
    logits = streamed(program, spikes).found.logits
    found = Lockstep(program).run(spikes).outputs
    np.testing.assert_array_equal(found, np.stack([logits[t] for t in range(len(spikes))]))
    assert len(np.unique(found)) > 20


def test_what_is_no_network_of_spiking_neurons_is_refused(path):
    with pytest.raises(Unsupported, match="not a network of spiking neurons"):
        Lockstep(tiny())
    with pytest.raises(BadInput, match="0 or 1"):
        Lockstep(compile_model(path, "loihi1")).run(np.full((2, 150), 2))

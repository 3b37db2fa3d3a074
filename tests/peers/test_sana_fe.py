"""The same mapped network here and in SANA-FE: equal spikes, counts, energy and time."""

import numpy as np
import pytest

from simulator.lockstep import Lockstep
from simulator.step_time import contention_free_ps
from tests.near import near
from tests.peers.networks import case, gesture, scattered
from tests.peers.sana_fe import COSTS, PYTHON, gesture_file, priced, run_peer

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make test-sanafe installs SANA-FE")

CASES = {
    "dense": dict(sizes=(150, 140, 90, 10), steps=24),
    "forgetful": dict(sizes=(300, 200, 60), steps=24, leak=0.0),
    "halving": dict(sizes=(140, 90, 20), steps=12, leak=0.5),
    "fixed point": dict(sizes=(150, 140, 90), steps=40, leak=0.9, share=0.2, fixed_point=True),
    "many cores": dict(sizes=(200, 180, 160), steps=16, overrides={"core.synapse_memory": "4 KiB"}),
    "sparse": dict(sizes=(256, 256, 256), steps=20, density=0.1, share=0.1),
    "scattered": dict(messages=3, synapses=5, share=0.4, steps=12),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    path, options = tmp_path_factory.mktemp("peer") / "net.nir", CASES[request.param]
    if request.param == "scattered":
        made = scattered(8, 24, **options)
    else:
        made = case(path, seed=len(request.param), **options)
    return both(made, gain=64 if options.get("leak") == 0.5 else 1)  # twelve halvings are exact


def both(made, **options):
    ours = Lockstep(made.program)
    steps = ours.run(made.spikes)
    theirs = run_peer(ours, made.spikes[made.lead :], made.weights, **options)
    return ours, steps, theirs["runs"]["simple"], made.lead


def test_spikes_are_equal_neuron_by_neuron_and_step_by_step(pair):
    ours, steps, theirs, lead = pair
    first = ours.program.graph.stages[0].n
    for k, layer in enumerate(ours.layers):
        mine = steps.raster[:, first : first + layer.n]
        first += layer.n
        found = np.zeros((len(mine) - lead, layer.n), mine.dtype)
        for step, fired in enumerate(theirs["fired"]):
            for group, neuron in fired:
                if group == str(k + 1):
                    found[step, neuron] = 1
        assert 0.01 < mine.mean() < 0.9
        behind = k + 1 - lead
        np.testing.assert_array_equal(found[behind:], mine[: len(mine) - k - 1])
        assert not found[:behind].any()


def test_counts_are_equal_in_every_step(pair):
    ours, steps, theirs, lead = pair
    mine, perf = priced(ours, steps).after(lead), theirs["perf"]
    for name in ("fired", "updated", "hops"):
        assert getattr(mine, name).tolist() == perf[name], name
    assert mine.synops.tolist() == perf["spikes"]
    assert theirs["counts"] == mine.totals()


def test_energy_and_contention_free_time_agree_in_every_step(pair):
    ours, steps, theirs, lead = pair
    mine, perf = priced(ours, steps).after(lead), theirs["perf"]
    for kind in ("synapse", "soma", "network"):
        for a, b in zip(getattr(mine, f"{kind}_fj"), perf[f"{kind}_energy"], strict=True):
            assert a * 1e-15 == near(b), kind
    assert int(mine.energy_fj.sum()) * 1e-15 == near(theirs["energy_j"]["total"])
    time_ps = contention_free_ps(ours, steps, COSTS)[lead:]
    for a, b in zip(time_ps, perf["sim_time"], strict=True):
        assert a * 1e-12 == near(b)
    assert int(time_ps.sum()) * 1e-12 == near(theirs["sim_time_s"])


@pytest.mark.slow
def test_the_gesture_network_counts_what_sana_fe_says_of_its_own(gesture_steps):
    """Of 1000 steps. SANA-FE 2.2.9's network file, snn/dvs.yaml, whose leak is 1 / 4096: neurons
    fired and synaptic events whatever the mapping; its tutorial, without a leak: fired."""
    wanted = {1: (364_088, 51_366_924), 0: (365_277, None)}
    for leak, (fired, synops) in wanted.items():
        ours, steps = gesture_steps(leak)
        mine = priced(ours, steps).after(1)
        assert int(mine.fired.sum()) == fired
        assert synops is None or int(mine.synops.sum()) == synops


@pytest.mark.slow
def test_the_gesture_network_is_the_same_there(gesture_pair):
    ours, steps, theirs, lead = gesture_pair
    mine = priced(ours, steps).after(lead)
    assert theirs["counts"] == mine.totals()
    assert int(mine.energy_fj.sum()) * 1e-15 == near(theirs["energy_j"]["total"])
    time_ps = contention_free_ps(ours, steps, COSTS)[lead:]
    assert int(time_ps.sum()) * 1e-12 == near(theirs["sim_time_s"])


@pytest.fixture(scope="module")
def gesture_steps():
    def made(leak):
        found = gesture(gesture_file(), 1000, leak_decay=leak)
        ours = Lockstep(found.program)
        return ours, ours.run(found.spikes)

    return made


@pytest.fixture(scope="module")
def gesture_pair():
    return both(gesture(gesture_file(), 40, leak_decay=1), trace=False)

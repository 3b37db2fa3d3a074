"""The same mapped network here and in SANA-FE: equal spikes, counts, energy and time."""

import numpy as np
import pytest

from simulator.lockstep import Lockstep
from simulator.step_time import contention_free_ps
from tests.near import near
from tests.peers.networks import case
from tests.peers.sana_fe import COSTS, PYTHON, priced, run_peer

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make test-sanafe installs SANA-FE")

CASES = {
    "dense": dict(sizes=(150, 140, 90, 10), steps=24),
    "forgetful": dict(sizes=(300, 200, 60), steps=24, leak=0.0),
    "halving": dict(sizes=(140, 90, 20), steps=12, leak=0.5),
    "fixed point": dict(sizes=(150, 140, 90), steps=40, leak=0.9, share=0.2, fixed_point=True),
    "many cores": dict(sizes=(200, 180, 160), steps=16, overrides={"core.synapse_memory": "4 KiB"}),
    "sparse": dict(sizes=(256, 256, 256), steps=20, density=0.1, share=0.1),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("peer") / "net.nir"
    made = case(path, seed=len(request.param), **CASES[request.param])
    ours = Lockstep(made.program)
    steps = ours.run(made.spikes)
    gain = 64 if CASES[request.param].get("leak") == 0.5 else 1  # twelve halvings are exact
    theirs = run_peer(ours, made.spikes, made.weights, gain=gain)
    return ours, steps, theirs["runs"]["simple"]


def test_spikes_are_equal_neuron_by_neuron_and_step_by_step(pair):
    ours, steps, theirs = pair
    first = ours.program.graph.stages[0].n
    for k, layer in enumerate(ours.layers):
        mine = steps.raster[:, first : first + layer.n]
        first += layer.n
        found = np.zeros_like(mine)
        for step, fired in enumerate(theirs["fired"]):
            for group, neuron in fired:
                if group == str(k + 1):
                    found[step, neuron] = 1
        assert 0.01 < mine.mean() < 0.9
        np.testing.assert_array_equal(found[k + 1 :], mine[: len(mine) - k - 1])
        assert not found[: k + 1].any()


def test_counts_are_equal_in_every_step(pair):
    ours, steps, theirs = pair
    mine, perf = priced(ours, steps), theirs["perf"]
    for name in ("fired", "updated", "hops"):
        assert getattr(mine, name).tolist() == perf[name], name
    assert mine.synops.tolist() == perf["spikes"]
    assert theirs["counts"] == mine.totals()


def test_energy_and_contention_free_time_agree_in_every_step(pair):
    ours, steps, theirs = pair
    mine, perf = priced(ours, steps), theirs["perf"]
    for kind in ("synapse", "soma", "network"):
        for a, b in zip(getattr(mine, f"{kind}_fj"), perf[f"{kind}_energy"], strict=True):
            assert a * 1e-15 == near(b), kind
    assert int(mine.energy_fj.sum()) * 1e-15 == near(theirs["energy_j"]["total"])
    time_ps = contention_free_ps(ours, steps, COSTS)
    for a, b in zip(time_ps, perf["sim_time"], strict=True):
        assert a * 1e-12 == near(b)
    assert int(time_ps.sum()) * 1e-12 == near(theirs["sim_time_s"])

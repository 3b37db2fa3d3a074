"""Neurons follow their difference equations, spike strictly above threshold, and reset."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.neurons import NEURONS, population
from kernels.stage import STAGES

FLOATS = [name for name in NEURONS if name != "loihi"]  # that one: test_loihi.py
SPIKING = [name for name in FLOATS if NEURONS[name].spikes]


def made(neuron, n, seed, **fixed):
    """A population of n neurons and its parameters, as float32 tensors."""
    rng = np.random.default_rng(seed)
    ranges = {"a_mem": (0.05, 1), "a_syn": (0.05, 1), "v_threshold": (0.2, 1), "r": (0.5, 2)}
    vectors = {
        f"p.{key}": torch.from_numpy(rng.uniform(*ranges.get(key, (-0.3, 0.3)), n)).float()
        for key in NEURONS[neuron].parameters
    }
    vectors |= {f"p.{key}": torch.full((n,), float(value)) for key, value in fixed.items()}
    names = tuple(f"p.{key}" for key in NEURONS[neuron].parameters)
    return SimpleNamespace(name="p", neuron=neuron, parameters=names), vectors


def ran(op, vectors, currents):
    """Outputs [steps, n] of a population fed currents [steps, n] in turn."""
    memory = {}
    rows = [population(op, vectors, memory, row, t) for t, row in enumerate(currents)]
    return torch.stack(rows).numpy()


def by_hand(neuron, p, currents):
    """The same in float64, one neuron after another: outputs, and the least distance from a
    threshold, below which rounding may decide."""
    steps, n = currents.shape
    out, nearest = np.zeros((steps, n)), np.inf
    for j in range(n):
        own = {key.removeprefix("p."): float(value[j]) for key, value in p.items()}
        v, i = own.get("v_leak", 0.0), 0.0
        for t in range(steps):
            drive = float(currents[t, j])
            if neuron.startswith("cuba"):
                i = i + own["a_syn"] * (own["w_in"] * drive - i)
                drive = i
            if neuron in ("lif", "li", "cubalif", "cubali"):
                v = v + own["a_mem"] * (own["v_leak"] - v + own["r"] * drive)
            elif neuron in ("if", "i"):
                v = v + own["r"] * drive
            else:
                v = drive
            if "v_threshold" not in own:
                out[t, j] = v
                continue
            nearest = min(nearest, abs(v - own["v_threshold"]))
            if v > own["v_threshold"]:
                out[t, j] = 1
                v = own.get("v_reset", v)
    return out, nearest


@pytest.mark.parametrize("neuron", FLOATS)
@settings(max_examples=12, deadline=None)
@given(n=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_a_population_follows_its_equations(neuron, n, seed):
    op, vectors = made(neuron, n, seed)
    currents = torch.from_numpy(np.random.default_rng(seed + 1).normal(0.2, 1, (30, n))).float()
    wanted, nearest = by_hand(neuron, vectors, currents.numpy())
    found = ran(op, vectors, currents)
    if not NEURONS[neuron].spikes:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    elif nearest > 1e-5:
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("neuron", FLOATS)
@pytest.mark.parametrize("cut", [1, 7, 31])
def test_any_part_of_a_population_alone_has_the_same_bits(neuron, cut):
    op, vectors = made(neuron, 32, 3)
    currents = torch.randn(25, 32, generator=torch.Generator().manual_seed(0))
    whole = ran(op, vectors, currents)
    parts = [
        ran(op, {key: value[own] for key, value in vectors.items()}, currents[:, own])
        for own in (slice(0, cut), slice(cut, 32))
    ]
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole)


@pytest.mark.parametrize("neuron", SPIKING)
def test_a_membrane_at_its_threshold_does_not_spike(neuron):
    fixed = {"a_mem": 1, "a_syn": 1, "w_in": 1, "r": 1, "v_leak": 0, "v_threshold": 0.5}
    keys = NEURONS[neuron].parameters
    fixed = {key: value for key, value in fixed.items() if key in keys}
    op, vectors = made(neuron, 2, 0, **fixed)
    above = np.nextafter(np.float32(0.5), np.float32(1))
    assert ran(op, vectors, torch.tensor([[0.5, float(above)]])).tolist() == [[0, 1]]


def test_lif_by_hand():
    """Half the way to 2 in each step: 1, 1.5, 1.75 > 1.6, and from -1 again 0.5, 1.25, 1.625."""
    op, vectors = made("lif", 1, 0, a_mem=0.5, r=2, v_leak=0, v_threshold=1.6, v_reset=-1)
    assert ran(op, vectors, torch.ones(7, 1))[:, 0].tolist() == [0, 0, 1, 0, 0, 1, 0]


def test_a_cubalif_s_membrane_sees_the_new_current():
    """Both shares 1: the current of a step crosses the threshold in that very step."""
    op, vectors = made("cubalif", 1, 0, a_syn=1, w_in=3, a_mem=1, r=1, v_leak=0, v_threshold=2)
    assert ran(op, vectors, torch.tensor([[1.0], [0.0]]))[:, 0].tolist() == [1, 0]


def test_neurons_begin_at_rest():
    op, vectors = made("li", 1, 0, a_mem=0.25, r=1, v_leak=-0.5)
    assert ran(op, vectors, torch.zeros(3, 1))[:, 0].tolist() == [-0.5, -0.5, -0.5]


def test_spikes_of_the_host_pass_as_they_are():
    spikes = torch.tensor([0.0, 1.0, 1.0])
    op = SimpleNamespace(name="input")
    assert STAGES["input"](op, {}, {}, spikes, 0).tolist() == [0, 1, 1]

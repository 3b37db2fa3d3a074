"""Loihi's fixed-point update: integers, neuron by neuron."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.neurons import NEURONS, population

LIMIT = 2**23


def made(n, seed, **fixed):
    """A population of n neurons and its parameters, as a program holds them."""
    rng = np.random.default_rng(seed)
    values = {
        "du": rng.choice([0, 1, 700, 4094, 4095], n),
        "dv": rng.choice([0, 1, 700, 4094, 4095], n),
        "bias": rng.integers(-4095, 4096, n) * 2 ** rng.integers(0, 8, n),
        "vth": rng.choice([0, 1, 5000, 131071], n),
    }
    values |= {key: np.full(n, value) for key, value in fixed.items()}
    vectors = {f"p.{key}": torch.from_numpy(v.astype(np.float32)) for key, v in values.items()}
    names = tuple(f"p.{key}" for key in NEURONS["loihi"].parameters)
    return SimpleNamespace(name="p", neuron="loihi", parameters=names), vectors


def ran(op, vectors, inputs):
    """Spikes, currents and membranes, [steps, n] each."""
    memory, rows = {}, []
    for t, a in enumerate(inputs):
        spikes = population(op, vectors, memory, torch.tensor(a, dtype=torch.float32), t)
        rows.append((spikes.numpy(), memory["p"]["i"].numpy(), memory["p"]["v"].numpy()))
    return [np.stack(part).astype(np.int64) for part in zip(*rows, strict=True)]


def by_hand(p, inputs):
    """One neuron in Python's integers, which divide, and never overflow."""

    def leak(x, kept):
        return x * kept // 4096 if x >= 0 else -(-x * kept // 4096)

    u = v = 0
    out = []
    for a in inputs:
        u = leak(u, 4095 - p["du"]) + 64 * int(a)
        if not -LIMIT < u <= LIMIT:
            u -= 2 * LIMIT if u > 0 else -2 * LIMIT
        v = max(1 - LIMIT, min(LIMIT - 1, leak(v, 4096 - p["dv"]) + u + p["bias"]))
        spike = v > 64 * p["vth"]
        v = 0 if spike else v
        out.append((int(spike), u, v))
    return out


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
    most=st.sampled_from([3, 2000, 100_000, 2**18]),
)
def test_a_population_is_its_equations_in_integers(n, seed, most):
    op, vectors = made(n, seed)
    inputs = np.random.default_rng(seed + 1).integers(-most, most + 1, (25, n))
    found = ran(op, vectors, inputs)
    for j in range(n):
        own = {key.removeprefix("p."): int(value[j]) for key, value in vectors.items()}
        wanted = by_hand(own, inputs[:, j])
        assert [tuple(row) for row in np.stack(found, 2)[:, j].tolist()] == wanted


@pytest.mark.parametrize("cut", [1, 7, 31])
def test_any_part_of_a_population_alone_has_the_same_bits(cut):
    op, vectors = made(32, 3)
    inputs = np.random.default_rng(0).integers(-(2**17), 2**17, (30, 32))
    whole = ran(op, vectors, inputs)
    parts = [
        ran(op, {key: value[own] for key, value in vectors.items()}, inputs[:, own])
        for own in (slice(0, cut), slice(cut, 32))
    ]
    for found, *pair in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(pair, 1), found)


def test_a_current_leaks_a_4096th_though_its_decay_is_0_and_a_membrane_does_not():
    """As Loihi's bit ds_offset has it: 64 x 1000 decays to 63984, to 63968; the membrane adds."""
    op, vectors = made(1, 0, du=0, dv=0, bias=0, vth=131071)
    _, u, v = ran(op, vectors, [[1000], [0], [0]])
    assert u[:, 0].tolist() == [64000, 63984, 63968]
    assert v[:, 0].tolist() == [64000, 127984, 191952]


def test_a_membrane_at_its_threshold_does_not_spike():
    op, vectors = made(2, 0, du=4095, dv=0, vth=100)
    vectors["p.bias"] = torch.tensor([0.0, 1.0])
    spikes, _, v = ran(op, vectors, [[100, 100]])
    assert (spikes.tolist(), v.tolist()) == ([[0, 1]], [[6400, 0]])


def test_a_current_of_2_to_the_23_stays_and_its_negative_becomes_it():
    op, vectors = made(2, 0, du=4095, dv=0, bias=0, vth=131071)
    _, u, _ = ran(op, vectors, [[2**17, -(2**17)], [2**17 + 1, -(2**17) - 1]])
    assert u.tolist() == [[LIMIT, LIMIT], [64 - LIMIT, LIMIT - 64]]

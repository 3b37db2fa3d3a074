"""NIR's neurons in fixed point: what fits Loihi's registers, and does what NIR says."""

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontends.loihi import fixed_point
from compiler.frontends.nir import Stepping, read_nir
from compiler.pipeline import compile_model
from hw_models.errors import Unsupported
from tests.spiking import affine, cubalif, fired, lif, random_spikes, streamed, written

LOIHI = Stepping(integration="loihi")


def one(n=1, **given):
    values = {"r": 1.0, "v_threshold": 1.0, "v_reset": 0.0} | given
    return {key: np.full(n, float(value)) for key, value in values.items()}


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["if", "lif", "cubalif"]),
    seed=st.integers(0, 2**32 - 1),
    gain=st.sampled_from([1e-6, 1e-2, 1, 30]),
    n_in=st.sampled_from([1, 20, 3000]),
)
def test_everything_fits_its_register_and_no_current_can_wrap(kind, seed, gain, n_in):
    rng = np.random.default_rng(seed)
    n = 7
    p = one(n) | {"v_threshold": rng.uniform(0.5, 3, n), "v_reset": rng.uniform(-1, 0.4, n)}
    if kind != "if":
        p |= {"a_mem": rng.uniform(1e-5, 1, n), "v_leak": rng.uniform(-0.5, 0.5, n)}
    if kind == "cubalif":
        p |= {"a_syn": rng.uniform(1e-5, 1, n), "w_in": rng.uniform(-2, 2, n)}
    weight = rng.normal(0, gain, (n, n_in)).astype(np.float32)
    bias = rng.normal(0, 0.01, n).astype(np.float32)
    try:
        made = fixed_point(p, weight, bias, "here")
    except Unsupported as error:
        assert gain * n_in >= 1 and "thresholds" in error.what
        return
    v = {key: values.astype(np.int64) for key, values in made.vectors.items()}
    assert all((v[key] == made.vectors[key]).all() for key in v)
    assert all(((v[key] >= 0) & (v[key] <= 4095)).all() for key in ("du", "dv"))
    assert np.unique(v["vth"]).size == 1 and 1 <= v["vth"][0] <= 131071
    shift = np.array([next(e for e in range(9) if abs(b) <= 4095 << e) for b in v["bias"].tolist()])
    assert (v["bias"] % 2**shift == 0).all() and shift.max() <= 7
    q = made.weight.astype(np.int64)
    assert np.abs(q).max() <= 127
    for row, du in zip(q, v["du"], strict=True):
        for sign in (1, -1):
            reached, a = 0, 64 * int((sign * row).clip(min=0).sum())
            for _ in range(300):
                reached = reached * (4095 - int(du)) // 4096 + a
            assert reached < 2**23


def test_a_constant_input_drives_a_membrane_as_far_as_nir_says():
    """v = v_leak + r w_in (W s + b) in the end; 64 vth units lie between reset and threshold."""
    rng = np.random.default_rng(5)
    n = 6
    p = one(n, a_mem=0.05, v_leak=0.2, a_syn=0.2, w_in=1.5, r=2, v_threshold=9, v_reset=-1)
    weight, bias = rng.uniform(0.1, 1, (n, 1)).astype(np.float32), np.full(n, 0.3, np.float32)
    made = fixed_point(p, weight, bias, "here")
    v = {key: values.astype(np.float64) for key, values in made.vectors.items()}
    current = 64.0 * made.weight[:, 0] / ((v["du"] + 1) / 4096)
    reached = (current + v["bias"]) / (v["dv"] / 4096)
    wanted = 0.2 + 2 * 1.5 * (weight[:, 0] + 0.3)
    np.testing.assert_allclose(reached / (64 * v["vth"]) * 10 - 1, wanted, rtol=0.02)


def test_thresholds_that_differ_become_synapses_that_do():
    p = one(2) | {"v_threshold": np.array([1.0, 2.0])}
    made = fixed_point(p, np.ones((2, 3), np.float32), np.zeros(2, np.float32), "here")
    # the neuron with twice the threshold has half the weight: 127 and 63.5, half to even
    assert made.weight.tolist() == [[127] * 3, [64] * 3]
    assert made.vectors["vth"].tolist() == [127, 127]


def test_spikes_are_nearly_those_of_floats(tmp_path):
    """Weights of 8 bits either way: the share of other spikes is that of their rounding."""
    leaky = lif(140, 2, v_leak=np.zeros(140), v_reset=np.zeros(140))
    path = written(tmp_path / "n.nir", affine(150, 140, 1), leaky)
    spikes = random_spikes(150, 80)
    rows = [
        np.stack(streamed(compile_model(path, "toy", stepping=way), spikes).found.activity.counts[
            "lif.spikes"
        ])
        for way in (Stepping(), LOIHI)
    ]  # fmt: skip
    assert rows[0].mean() > 0.05
    assert (rows[0] != rows[1]).mean() < 0.15 * rows[0].mean()


def test_neurons_without_a_fixed_point_form_are_named(tmp_path):
    path = written(
        tmp_path / "n.nir", affine(9, 8, 1), lif(8, 2), affine(8, 3, 3), nir.I(np.ones(3))
    )
    with pytest.raises(Unsupported, match="type I in fixed point") as caught:
        read_nir(path, LOIHI)
    assert "CubaLIF" in caught.value.fix
    path = written(tmp_path / "m.nir", affine(9, 8, 1), lif(8, 2, v_reset=np.ones(8)))
    with pytest.raises(Unsupported, match="not above v_reset"):
        compile_model(path, "toy", stepping=LOIHI)


@pytest.mark.parametrize("slots", [1, 4])
def test_however_it_is_cut_the_canonical_executor_agrees(tmp_path, slots):
    from simulator import reference

    nodes = [affine(150, 40, 1), lif(40, 2), affine(40, 20, 3), cubalif(20, 4), affine(20, 5, 5)]
    path = written(tmp_path / "n.nir", *nodes, fired(5))
    spikes, found = random_spikes(150, 40), []
    for sizes in ({}, {"core.synapse_memory": "1536 B", "core.token_slots": str(slots)}):
        program = compile_model(path, "toy", stepping=LOIHI, overrides=sizes)
        simulation = streamed(program, spikes)
        reference.compare(program, simulation.found, spikes)
        found.append(simulation.found.activity.counts)
    assert all(np.array_equal(found[0][site], found[1][site]) for site in found[0])

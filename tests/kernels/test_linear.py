"""The W8 linear layer: exact integers under any order, and the quantiser's bounds."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.errors import BadInput
from kernels.linear import W8, dequantize, exact_linear, linear_output, quantize_w8

torch.set_num_threads(1)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def matrices(draw):
    """float32 [out, in] around the group's border, its groups of different sizes."""
    n_out, n_in = draw(st.integers(1, 5)), draw(st.sampled_from([1, 7, 127, 128, 129, 256, 300]))
    rng = np.random.default_rng(draw(SEEDS))
    scale = 2.0 ** rng.uniform(-12, 4, (n_out, -(-n_in // 128)))
    w = rng.standard_normal((n_out, n_in)) * np.repeat(scale, 128, 1)[:, :n_in]
    return w.astype(np.float32)


def nearest(x: Fraction) -> int:
    """Half to even."""
    return round(x)


def oracle(w):
    """The definition row by row in exact fractions, except the float64 of the scale."""
    rows = []
    for row in w.astype(np.float64):
        groups = [row[i : i + 128] for i in range(0, row.size, 128)]
        amax = [max(abs(v) for v in g) for g in groups]
        scale = float(np.float32(max(amax) / 127 * 32768 / 32767))
        m = [min(32767, max(1, math.ceil(32768 * a / (127 * scale)))) for a in amax]
        q = [
            max(-127, min(127, nearest(Fraction(v) / (Fraction(scale) * mi / 32768))))
            for g, mi in zip(groups, m, strict=True)
            for v in g
        ]
        rows.append((q, m, scale))
    return rows


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_the_quantiser_is_its_definition(w):
    found = quantize_w8(torch.from_numpy(w))
    for o, (q, m, scale) in enumerate(oracle(w)):
        assert found.row_scale[o].item() == scale
        assert found.m[o].tolist() == m
        assert found.q[o].tolist() == q


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_a_weight_moves_by_at_most_half_a_step(w):
    found = quantize_w8(torch.from_numpy(w))
    step = found.row_scale.double()[:, None] * found.m.double() / 32768
    error = np.abs(dequantize(found).numpy().astype(np.float64) - w)
    half = np.repeat(step.numpy(), 128, 1)[:, : w.shape[1]] / 2
    assert (error <= half * (1 + 1e-6)).all()
    assert found.m.min() >= 1
    assert found.m.max() <= 32767
    assert found.q.abs().max() <= 127


def test_rows_without_weight_are_zeros_with_scale_one():
    w = torch.zeros(3, 200)
    w[1, 5] = 1e-38  # below the smallest normal float32 once divided by 127
    w[2, 7] = 0.5
    found = quantize_w8(w)
    assert found.row_scale[:2].tolist() == [1, 1]
    assert found.m[:2].tolist() == [[1, 1], [1, 1]]
    assert not found.q[:2].any()
    assert dequantize(found)[2, 7].item() == pytest.approx(0.5)


@settings(max_examples=60, deadline=None)
@given(matrices(), SEEDS)
def test_sums_are_exact_integers(w, seed):
    w8 = quantize_w8(torch.from_numpy(w))
    counts = np.random.default_rng(seed).integers(-30_000, 30_000, w.shape[1])
    sums = exact_linear(torch.from_numpy(counts.astype(np.int32)), w8)
    assert sums.dtype == torch.int64
    q, m = w8.q.tolist(), w8.m.tolist()
    for o in range(w.shape[0]):
        terms = (m[o][i // 128] * q[o][i] * int(counts[i]) for i in range(w.shape[1]))
        assert sums[o].item() == sum(terms)


@settings(max_examples=60, deadline=None)
@given(matrices(), SEEDS)
def test_tiles_cut_on_group_borders_add_up_to_the_whole(w, seed):
    w8, rng = quantize_w8(torch.from_numpy(w)), np.random.default_rng(seed)
    counts = torch.from_numpy(rng.integers(-30_000, 30_000, w.shape[1], dtype=np.int32))
    n_out, groups = w8.m.shape

    def cuts(n):
        inner = np.flatnonzero(rng.random(n - 1) < 0.5) + 1
        return zip([0, *inner], [*inner, n], strict=True)

    total = torch.zeros(n_out, dtype=torch.int64)
    for g0, g1 in cuts(groups):
        pre = slice(128 * g0, 128 * g1)
        for o0, o1 in cuts(n_out):
            tile = W8(w8.q[o0:o1, pre], w8.m[o0:o1, g0:g1], w8.row_scale[o0:o1])
            total[o0:o1] += exact_linear(counts[pre], tile)
    assert torch.equal(total, exact_linear(counts, w8))


def ones(n_in):
    """A neuron whose every weight is 127."""
    q = torch.full((1, n_in), 127, dtype=torch.int8)
    return W8(q, torch.ones(1, -(-n_in // 128), dtype=torch.int32), torch.ones(1))


def test_an_accumulator_holds_int32_and_not_one_more():
    most = (2**31 - 1) // 127
    counts = torch.zeros(256, dtype=torch.int32)
    counts[0] = counts[128] = most  # two groups: two accumulators
    assert exact_linear(counts, ones(256)).item() == 2 * 127 * most
    counts[1] = 1
    with pytest.raises(BadInput, match="int32"):
        exact_linear(counts, ones(256))


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.booleans())
def test_outputs_round_once_and_add_the_bias_in_float32(seed, biased):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-(2**45), 2**45, 6)
    v_th = np.float32(rng.uniform(1e-5, 10))
    scale = rng.uniform(1e-6, 1e-1, 6).astype(np.float32)
    bias = rng.standard_normal(6).astype(np.float32) if biased else None
    y = linear_output(
        torch.from_numpy(sums),
        torch.tensor(v_th),
        torch.from_numpy(scale),
        None if bias is None else torch.from_numpy(bias),
    )
    for o in range(6):
        wide = float(v_th) * float(scale[o]) * float(sums[o]) * 2.0**-15
        expected = np.float32(wide) if bias is None else np.float32(wide) + bias[o]
        assert y[o].item() == expected

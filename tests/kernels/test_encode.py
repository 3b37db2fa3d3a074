"""V_th and counts are those of exact integer and rational arithmetic, in torch and in Numba."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hw_models.errors import BadInput
from kernels.encode import encode
from kernels.threshold import absmax16, count
from simulator.hot.encode import absmax16_count, mean_abs_count

torch.set_num_threads(1)

FLOAT32 = st.floats(-(2.0**18), 2.0**18, exclude_min=True, exclude_max=True, width=32)
"""Denormals, negative zeros and ties included."""

VECTORS = hnp.arrays(
    np.float32, st.integers(1, 120), elements=FLOAT32, fill=st.sampled_from([0, 1e-3, 1, -2.5])
)
K = st.sampled_from([0.5, 2.0, 2.5, 3.0, 3.3, 8.0])


def mean_abs_by_fractions(x, k):
    """DESIGN 3.1, with Python's integers, fractions (round is half to even) and floats."""
    total = sum(round(abs(Fraction(float(v))) * 2**28) for v in x)
    return max(np.float32(float(total) / (float(len(x)) * k * 2.0**28)), np.float32(1e-5))


def float32_quotient(value, v_th):
    """The float32 next to the exact quotient, found with fractions alone; ties to even."""
    exact = abs(Fraction(float(value)) / Fraction(float(v_th)))
    if exact == 0:
        return Fraction(0)
    exponent = math.floor(math.log2(exact)) if exact >= 2**-126 else -126
    while exact >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exponent > -126 and exact < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    return round(exact / unit) * unit * (-1 if value < 0 else 1)


def counts_by_fractions(x, v_th):
    return [round(float32_quotient(value, v_th)) for value in x]


def in_numba(x, k):
    counts = np.empty(x.size, np.int32)
    v_th, status = mean_abs_count(x, k, counts)
    assert status == 0
    return v_th, counts


@settings(max_examples=60, deadline=None)
@given(VECTORS, K)
def test_threshold_and_counts_are_the_exact_ones(x, k):
    v_th, counts = encode(torch.from_numpy(x), k)
    assert v_th.dtype == torch.float32 and counts.dtype == torch.int32
    assert v_th.item() == mean_abs_by_fractions(x, k)
    assert counts.tolist() == counts_by_fractions(x, v_th.item())
    hot_v_th, hot_counts = in_numba(x, k)
    assert hot_v_th == v_th.item()
    np.testing.assert_array_equal(hot_counts, counts.numpy())


@pytest.mark.parametrize("scale", [1e-42, 1e-5, 1e-4, 1e-2, 1.0, 4e4])
@pytest.mark.parametrize("n", [1, 128, 3584, 18_944])
def test_numba_gives_the_bits_of_torch_at_every_scale(scale, n):
    x = np.random.default_rng(n).standard_normal(n).astype(np.float32) * np.float32(scale)
    v_th, counts = encode(torch.from_numpy(x), 3.0)
    hot_v_th, hot_counts = in_numba(x, 3.0)
    assert hot_v_th == v_th.item() == mean_abs_by_fractions(x, 3.0)
    np.testing.assert_array_equal(hot_counts, counts.numpy())


@settings(max_examples=60, deadline=None)
@given(VECTORS)
def test_absmax16_puts_the_largest_at_its_end_in_torch_and_in_numba(x):
    tensor = torch.from_numpy(x)
    v_th = absmax16(tensor)
    largest = max(np.abs(x).max(), np.float32(1e-30))
    assert Fraction(v_th.item()) == float32_quotient(largest, 32767)
    counts = np.empty(x.size, np.int32)
    hot_v_th, status = absmax16_count(x, counts)
    assert (status, hot_v_th) == (0, v_th.item())
    assert counts.tolist() == counts_by_fractions(x, v_th.item()) == count(tensor, v_th).tolist()
    if largest > 1e-30:
        assert np.abs(counts).max() == 32767


def test_halves_round_to_even_also_where_the_reciprocal_would_miss_them():
    """V_th = 15; times its float32 reciprocal, 79 of 200 halves would no longer be one."""
    halves = [m + 0.5 for m in range(-200, 200)]
    x = 15 * torch.tensor(halves)
    v_th, counts = encode(x, 100.0)
    assert v_th.item() == 15
    assert counts.tolist() == [round(half) for half in halves]
    assert in_numba(x.numpy(), 100.0)[1].tolist() == counts.tolist()


@pytest.mark.parametrize(("value", "rounded"), [(8192.5, 8192), (8193.5, 8194)])
def test_halves_of_the_sum_s_unit_round_to_even(value, rounded):
    x = np.full(5, value * 2.0**-28, np.float32)
    v_th = encode(torch.from_numpy(x), 1.0)[0].item()
    assert v_th == in_numba(x, 1.0)[0] == rounded * 2.0**-28


def test_zeros_and_denormals_are_silent_at_the_least_threshold():
    x = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 1e-38])
    v_th, counts = encode(x, 3.0)
    assert v_th.item() == np.float32(1e-5)
    assert counts.tolist() == [0] * 5


def test_a_batch_is_its_rows():
    x = torch.randn(2, 3, 257, generator=torch.Generator().manual_seed(0))
    v_th, counts = encode(x, 3.0)
    for i in range(2):
        for j in range(3):
            row_v_th, row_counts = encode(x[i, j], 3.0)
            assert torch.equal(v_th[i, j], row_v_th)
            assert torch.equal(counts[i, j], row_counts)


def test_the_order_of_a_vector_changes_no_bit_of_its_threshold():
    x = torch.randn(5000, generator=torch.Generator().manual_seed(1)) * 100
    shuffled = x[torch.randperm(5000, generator=torch.Generator().manual_seed(2))]
    assert torch.equal(encode(x, 3.0)[0], encode(shuffled, 3.0)[0])


def test_the_largest_value_is_taken_and_the_next_refused():
    below = np.nextafter(np.float32(2**18), np.float32(0))
    assert encode(torch.tensor([below]), 3.0)[1].item() == 3
    with pytest.raises(BadInput, match=r"2\^18"):
        encode(torch.tensor([2.0**18]), 3.0)


@pytest.mark.parametrize(
    ("value", "k", "what"),
    [
        (math.nan, 3.0, "not finite"),
        (-math.inf, 3.0, "not finite"),
        (-(2.0**18), 3.0, r"2\^18"),
        (2.0**17, 2.0**30, r"2\^31"),
    ],
)
def test_what_has_no_count_is_refused_by_site_and_token(value, k, what):
    x = torch.ones(3, 40)
    x[1, 7] = value
    with pytest.raises(BadInput, match=what) as error:
        encode(x[1], k, site="layers.2.o_in", token=31)
    assert error.value.where == "site layers.2.o_in, token 31"
    with pytest.raises(BadInput, match=what) as error:
        encode(x, k, site="layers.2.o_in", token=30)
    assert error.value.where == "site layers.2.o_in, token 31"


def test_mean_count_is_k_whatever_the_distribution():
    """SpikingBrain's identity: the mean of |s| is about k."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(50_000, generator=generator)
    for k in (2.0, 3.0, 4.0):
        for x in (normal, normal.exp(), normal**3):
            counts = encode(x, k)[1]
            assert counts.abs().double().mean().item() == pytest.approx(k, rel=0.08)

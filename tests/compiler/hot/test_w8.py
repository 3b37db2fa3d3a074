"""The Numba quantiser gives the bits of kernels.linear.quantize_w8; its check sees every change."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compiler.hot import w8
from compiler.quantize import float_bits
from kernels.linear import quantize_w8

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
SIZES = [1, 2, 127, 128, 129, 255, 256, 257, 300, 1000]


def as_w8(n, n_pre):
    """Arrays to write into, full of what must not stay."""
    q, m = np.full((n, n_pre), 99, np.int8), np.full((n, -(-n_pre // 128)), -7, np.int32)
    return q, m, np.full(n, np.nan, np.float32)


def quantized(weight, first=0, step=1, n=None):
    source, shift = float_bits(weight)
    rows, n_pre = source.shape
    q, m, scale = as_w8(n or rows, n_pre)
    status = w8.quantize(source, shift, first, step, np.empty(n_pre, np.uint32), q, m, scale)
    return status, q, m, scale


def checked(weight, q, m, scale, rows=None, neurons=None):
    source, shift = float_bits(weight)
    n = np.arange(len(source))
    rows, neurons = (n if of is None else np.array(of) for of in (rows, neurons))
    room = np.empty(source.shape[1], np.uint32)
    return w8.check(source, shift, rows, neurons, room, q, m, scale)


def assert_twins(weight):
    status, q, m, scale = quantized(weight)
    want = quantize_w8(weight.float())
    assert status == -1
    np.testing.assert_array_equal(q, want.q.numpy())
    np.testing.assert_array_equal(m, want.m.numpy())
    np.testing.assert_array_equal(scale, want.row_scale.numpy())
    assert checked(weight, q, m, scale) == (w8.FINE, -1)


def random(n, n_pre, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((n, n_pre), np.float32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_pre", SIZES)
def test_twins_over_odd_sizes(dtype, n_pre):
    for n in (1, 3, 16):
        assert_twins(random(n, n_pre, n_pre).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_twins_over_rows_of_every_magnitude(dtype):
    """Zero rows, rows around the smallest row scale, subnormals, the largest numbers."""
    weight = random(600, 200).sign() * torch.logspace(-48, 38.5, 600)[:, None] * random(600, 200, 1)
    weight = weight.clamp(-3e38, 3e38).to(dtype)
    weight = torch.where(weight.isfinite(), weight, torch.zeros_like(weight))
    weight[::7] = 0
    weight[3::7, 128:] = 0
    assert (weight == 0).all(1).any()
    assert_twins(weight)


def test_twins_next_to_the_smallest_row_scale():
    """The row scale falls below 2^-126 between these amplitudes, one float after another."""
    edge = np.float32(127 * 32767 / 32768 * 2.0**-126)
    amplitudes = edge.view(np.int32) + np.arange(-40, 40, dtype=np.int32)
    weight = torch.from_numpy(amplitudes.view(np.float32)[:, None] * np.ones((1, 3), np.float32))
    assert_twins(weight)
    scales = quantized(weight)[3]
    assert (scales == 1).any() and (scales < 1e-37).any()


def test_twins_on_ties_and_on_the_border_of_a_code():
    """Weights of exactly half a step (half to even), and one float beside it."""
    step = 2.0**-10
    row = np.float32(step) * (np.arange(-127, 128, dtype=np.float32) + np.float32(0.5))
    row = np.append(row, np.float32(127 * step))
    beside = [np.nextafter(row, np.float32(to), dtype=np.float32) for to in (-1, 1)]
    assert_twins(torch.from_numpy(np.stack([row, *beside])))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_twins_on_any_finite_numbers(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    shape = data.draw(st.tuples(st.integers(1, 4), st.sampled_from([1, 5, 128, 130])))
    floats = data.draw(hnp.arrays(np.float32, shape, elements=FINITE))
    weight = torch.from_numpy(floats).to(dtype)
    assert_twins(torch.where(weight.isfinite(), weight, torch.zeros_like(weight)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf"), -float("inf")])
def test_a_row_that_holds_no_number_is_named(dtype, bad):
    for column in (0, 127, 128, 199):
        weight = random(9, 200).to(dtype)
        weight[5, column] = bad
        assert quantized(weight)[0] == 5


def test_rows_go_to_their_neurons_and_touch_no_others():
    weight = random(4, 200)
    _, q, m, scale = quantized(weight, first=2, step=3, n=13)
    want = quantize_w8(weight)
    ours = [2, 5, 8, 11]
    np.testing.assert_array_equal(q[ours], want.q.numpy())
    np.testing.assert_array_equal(m[ours], want.m.numpy())
    np.testing.assert_array_equal(scale[ours], want.row_scale.numpy())
    others = [o for o in range(13) if o not in ours]
    assert (q[others] == 99).all() and (m[others] == -7).all() and np.isnan(scale[others]).all()


@pytest.fixture
def made():
    """A matrix with a zero row, and what the quantiser of PyTorch makes of it."""
    weight = random(6, 300, 3)
    weight[4] = 0
    found = quantize_w8(weight)
    return weight, found.q.numpy().copy(), found.m.numpy().copy(), found.row_scale.numpy().copy()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_check_accepts_what_pytorch_makes(dtype):
    weight = random(50, 300, 4).to(dtype)
    found = quantize_w8(weight.float())
    arrays = (found.q.numpy(), found.m.numpy(), found.row_scale.numpy())
    assert checked(weight, *arrays) == (w8.FINE, -1)


@pytest.mark.parametrize("neuron", [0, 3, 4])
@pytest.mark.parametrize("column", [0, 128, 299])
@pytest.mark.parametrize("by", [-1, 1, 64])
def test_the_check_sees_every_changed_code(made, neuron, column, by):
    weight, q, m, scale = made
    q[neuron, column] += by if abs(int(q[neuron, column]) + by) < 128 else -by
    assert checked(weight, q, m, scale) == (w8.CODE, neuron)


@pytest.mark.parametrize("neuron", [0, 3, 4])
@pytest.mark.parametrize("group", [0, 1, 2])
@pytest.mark.parametrize("by", [-1, 1, 400, -40_000, 40_000])
def test_the_check_sees_every_changed_mantissa(made, neuron, group, by):
    weight, q, m, scale = made
    m[neuron, group] += by
    found, named = checked(weight, q, m, scale)
    assert (found != w8.FINE, named) == (True, neuron)


@pytest.mark.parametrize("neuron", [0, 3, 4])
@pytest.mark.parametrize("factor", [0.5, 1 - 2.0**-22, 1 + 2.0**-22, 2, 0, -1, np.nan, np.inf])
def test_the_check_sees_another_row_scale(made, neuron, factor):
    weight, q, m, scale = made
    scale[neuron] *= np.float32(factor)
    found, named = checked(weight, q, m, scale)
    assert (found != w8.FINE, named) == (True, neuron)


def test_the_check_sees_rows_in_another_order(made):
    weight, *arrays = made
    assert checked(weight, *arrays, rows=[3, 1], neurons=[3, 1]) == (w8.FINE, -1)
    assert checked(weight, *arrays, rows=[1, 3], neurons=[3, 1])[1] == 3


def test_the_check_sees_minus_128_and_weights_that_are_no_numbers(made):
    weight, q, m, scale = made
    weight[2, 7] = float("nan")
    assert checked(weight, q, m, scale) == (w8.CODE, 2)
    weight[2, 7] = 0.0
    q[1, 5] = -128
    assert checked(weight, q, m, scale) == (w8.CODE, 1)


def test_a_zero_row_that_is_not_zero_is_seen(made):
    weight, *arrays = made
    weight[4, 11] = 1e-3
    assert checked(weight, *arrays)[1] == 4

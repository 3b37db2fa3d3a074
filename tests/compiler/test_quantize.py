"""A block of a fused linear holds the rows of its neurons, whatever parts they come from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph import Linear, Part
from compiler.quantize import quantize_block, runs, verify_block
from compiler.weights import fuse
from hw_models.errors import BadInput, Bug
from kernels.linear import quantize_w8

N_PRE = 130


def tensors(seed=0, **dtypes):
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in "abc":
        dtype = dtypes.get(name, torch.bfloat16)
        found[name] = torch.randn(40, N_PRE, generator=generator).to(dtype)
        found[name + ".bias"] = torch.randn(40, generator=generator).to(dtype)
    return found


def in_sequence():
    parts = (
        Part("a", "a.bias", (30, 34, 0, 5)),
        Part("b", None, (7, 8)),
        Part("a", "a.bias", (34, 40)),
        Part("c", "c.bias", (0, 40)),
    )
    return Linear("qkv", "site", N_PRE, 56, parts)


def in_turn(rows=(3, 20)):
    n = 3 * (rows[1] - rows[0])
    parts = tuple(Part(name, None, rows) for name in "abc")
    return Linear("three", "site", N_PRE, n, parts, align=3)


def several_ranges_in_turn():
    parts = (Part("a", "a.bias", (0, 4, 9, 12)), Part("b", None, (2, 3, 30, 36)))
    return Linear("two", "site", N_PRE, 14, parts, align=2)


LINEARS = [in_sequence(), in_turn(), several_ranges_in_turn()]


@pytest.mark.parametrize("linear", LINEARS, ids=lambda lin: lin.name)
def test_runs_name_every_neuron_once_and_its_row(linear):
    """Tensors of their own row numbers tell what fuse puts where."""
    marks = {
        name: (1000.0 * i + torch.arange(40.0))[:, None].expand(40, N_PRE)
        for i, name in enumerate("abc")
    } | {f"{name}.bias": torch.zeros(40) for name in "abc"}
    wanted = fuse(linear, marks)[0][:, 0].tolist()
    for lo, hi in ((0, linear.n_post), (5, 6), (1, 13), (4, 14)):
        found = {}
        for part, a, b, first, step in runs(linear, lo, hi):
            for row in range(a, b):
                neuron = first + step * (row - a)
                assert neuron not in found
                found[neuron] = marks[part.weight][row, 0].item()
        assert found == dict(enumerate(wanted[lo:hi], lo))


@pytest.mark.parametrize("linear", LINEARS, ids=lambda lin: lin.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_block_is_the_slow_twin_of_its_rows(linear, data):
    """Rows of several types beside each other, too."""
    dtypes = {n: data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
              for n in "abc"}  # fmt: skip
    own = tensors(data.draw(st.integers(0, 9)), **dtypes)
    lo = data.draw(st.integers(0, linear.n_post - 1))
    hi = data.draw(st.integers(lo + 1, linear.n_post))
    block = quantize_block(linear, own, lo, hi)
    weight, bias = fuse(linear, own)
    want = quantize_w8(weight)
    assert (block.lo, block.hi) == (lo, hi)
    np.testing.assert_array_equal(block.q, want.q[lo:hi].numpy())
    np.testing.assert_array_equal(block.m, want.m[lo:hi].numpy())
    np.testing.assert_array_equal(block.row_scale, want.row_scale[lo:hi].numpy())
    np.testing.assert_array_equal(block.bias, bias[lo:hi].numpy())
    verify_block(block, own)


@pytest.mark.parametrize("linear", LINEARS, ids=lambda lin: lin.name)
def test_neurons_in_another_order_are_seen(linear):
    own = tensors()
    block = quantize_block(linear, own, 2, 12)
    swapped = [1, 0, *range(2, 10)]
    wrong = replace(block, q=block.q[swapped], m=block.m[swapped],
                    row_scale=block.row_scale[swapped])  # fmt: skip
    with pytest.raises(Bug) as caught:
        verify_block(wrong, own)
    assert caught.value.where in (f"{linear.name}, neuron 2", f"{linear.name}, neuron 3")


@pytest.mark.parametrize(("neuron", "value"), [(0, 1.0), (9, 1.0), (9, float("nan"))])
def test_another_bias_is_seen(neuron, value):
    """Neuron 9 has none: its part names no bias."""
    own = tensors()
    block = quantize_block(in_sequence(), own, 0, 12)
    assert block.bias[9] == 0
    block.bias[neuron] += value
    with pytest.raises(Bug, match="another bias"):
        verify_block(block, own)


@pytest.mark.parametrize("name", ["a", "c", "c.bias"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_named(name, bad):
    own = tensors()
    own[name][39] = bad
    with pytest.raises(BadInput, match="NaN or infinity") as caught:
        quantize_block(in_sequence(), own, 0, 56)
    assert caught.value.where == name


def test_rows_that_no_part_takes_do_not_matter():
    own = tensors()
    own["a"][6] = float("nan")
    verify_block(quantize_block(in_sequence(), own, 0, 56), own)


def test_tensors_may_lie_in_memory_in_any_way():
    own, linear = tensors(a=torch.float32), in_sequence()
    odd = own | {"a": own["a"].T.contiguous().T, "c": torch.nn.Parameter(own["c"])}
    assert not odd["a"].is_contiguous()
    one, other = (quantize_block(linear, t, 0, 56) for t in (own, odd))
    np.testing.assert_array_equal(one.q, other.q)
    verify_block(one, odd)

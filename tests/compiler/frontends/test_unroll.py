"""Layers between two populations are the matrices that torch computes with."""

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontends.read import read_model
from tests.spiking import affine, conv, fired, image, matrix_of, raw_graph, written


def read(tmp_path, *nodes):
    return read_model(written(tmp_path / "net.nir", *nodes))


@pytest.mark.filterwarnings("ignore:Using padding")
@settings(max_examples=30, deadline=None)
@given(
    side=st.tuples(st.integers(3, 7), st.integers(3, 7)),
    taps=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.one_of(
        st.tuples(st.integers(0, 2), st.integers(0, 2)), st.sampled_from(["same", "valid"])
    ),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 9),
)
def test_an_unrolled_convolution_is_torch_s(
    tmp_path_factory, side, taps, stride, padding, dilation, groups, seed
):
    if padding == "same":
        stride = (1, 1)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    node = conv(4, 6, taps, seed, **options)
    x = np.random.default_rng(seed).integers(0, 2, (4, *side)).astype(np.float32)
    try:
        wanted = torch.nn.functional.conv2d(
            torch.from_numpy(x[None]).double(),
            torch.from_numpy(node.weight).double(),
            torch.from_numpy(node.bias).double(),
            **options,
        )[0].numpy()
    except RuntimeError:
        return  # a kernel larger than the padded image
    path = tmp_path_factory.mktemp("conv") / "net.nir"
    neurons = nir.Threshold(np.zeros(wanted.shape))
    out = nir.Output(np.array(wanted.shape))
    raw_graph(path, image(4, *side), node, neurons, out, shape=side)
    weight, bias = matrix_of(*read_model(path))
    assert weight.shape == (wanted.size, x.size)
    found = weight.astype(np.float64) @ x.reshape(-1) + bias
    np.testing.assert_allclose(found, wanted.reshape(-1), rtol=1e-6, atol=1e-6)
    assert set(np.unique(weight)) <= {0.0, *node.weight.reshape(-1).tolist()}  # placed, not added
    # what baselines are charged for: the kernel's own synapses, without the zeros around it
    assert read_model(path)[0].macs() == np.count_nonzero(weight)


@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools_and_scales_are_fused_into_the_layer_behind_them(tmp_path, kind, padding):
    both = np.array([2, 2])
    pool = kind(kernel_size=both, stride=both, padding=np.array([padding, padding]))
    scale = nir.Scale(np.random.default_rng(1).normal(1, 0.3, (2, 6, 5)))
    side = (6 + 2 * padding) // 2, (5 + 2 * padding) // 2
    layer = conv(2, 3, seed=4)
    neurons = nir.Threshold(np.zeros((3, *side)))
    path, out = tmp_path / "net.nir", nir.Output(np.array((3, *side)))
    raw_graph(path, image(2, 6, 5), scale, pool, layer, neurons, out, shape=side)
    graph, tensors = read_model(path)
    (linear,) = graph.linears
    assert linear.name == "n3"
    weight, bias = matrix_of(graph, tensors)
    x = np.random.default_rng(2).normal(size=(2, 6, 5))
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(x * scale.scale), 2, 2, padding)
    pooled = pooled * (4 if kind is nir.SumPool2d else 1)
    wanted = torch.nn.functional.conv2d(
        pooled, torch.from_numpy(layer.weight).double(), torch.from_numpy(layer.bias).double(),
        padding=1,
    ).numpy()  # fmt: skip
    found = weight @ x.reshape(-1) + bias
    np.testing.assert_allclose(found, wanted.reshape(-1), rtol=1e-5, atol=1e-6)
    # fed ones, a layer of ones counts its own synapses
    ones, kernel = torch.ones(1, 2, 6, 5), torch.ones(layer.weight.shape)
    joined = 4 * torch.nn.functional.avg_pool2d(ones, 2, 2, padding).sum()
    joined += torch.nn.functional.conv2d(torch.ones(1, *pooled.shape), kernel, padding=1).sum()
    assert graph.macs() == ones.numel() + joined


def test_two_layers_in_a_row_are_one_product_with_one_bias(tmp_path):
    first, second = affine(8, 6, 1), affine(6, 5, 2)
    weight, bias = matrix_of(*read(tmp_path, first, second, fired(5)))
    np.testing.assert_allclose(weight, second.weight @ first.weight, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(bias, second.weight @ first.bias + second.bias, atol=1e-6)


def test_flatten_keeps_the_order_of_channels(tmp_path):
    """Channel by channel, row by row: the columns of the layer behind it."""
    flat = nir.Flatten({"input": np.array([2, 3, 3])}, start_dim=0)
    layer = affine(18, 4, 5)
    nodes = (image(2, 3, 3), nir.Threshold(np.full((2, 3, 3), 0.5)), flat, layer, fired(4))
    graph, tensors = read(tmp_path, *nodes)
    weight, _ = matrix_of(graph, tensors, 1)
    np.testing.assert_array_equal(weight, layer.weight.astype(np.float32))


def test_layers_are_unrolled_when_asked_for_and_not_before(tmp_path, monkeypatch):
    from compiler.frontends import unroll

    nodes = (image(2, 8, 8), conv(2, 3), nir.Threshold(np.zeros((3, 8, 8))))
    path = written(tmp_path / "net.nir", *nodes)
    calls = []
    real = unroll._unrolled
    monkeypatch.setattr(unroll, "_unrolled", lambda *a: calls.append(1) or real(*a))
    graph, tensors = read_model(path)
    assert calls == []
    matrix_of(graph, tensors)
    assert calls == [1]

"""A NIR graph becomes populations and the matrices between them; anything else is named."""

import h5py
import nir
import numpy as np
import pytest
import torch

from compiler.frontends.nir import SUPPORTED, Stepping
from compiler.frontends.read import read_model
from compiler.graph import Logits, Population, SpikeInput
from compiler.pipeline import compile_model
from hw_models.errors import BadInput, Unsupported, Usage
from tests.spiking import (
    affine,
    conv,
    cubalif,
    fired,
    image,
    lif,
    matrix_of,
    raw_graph,
    written,
)


def read(tmp_path, *nodes, stepping=None):
    return read_model(written(tmp_path / "net.nir", *nodes), stepping=stepping)


def edited(tmp_path, *nodes):
    """The file, for h5py to change."""
    return h5py.File(written(tmp_path / "net.nir", *nodes), "r+")


def test_layers_and_populations_alternate(tmp_path):
    graph, tensors = read(tmp_path, affine(9, 7), lif(7), affine(7, 5, 1), cubalif(5))
    assert [type(s) for s in graph.stages] == [SpikeInput, Population, Population]
    assert [(s.name, s.n) for s in graph.stages] == [("input", 9), ("lif", 7), ("cubalif", 5)]
    assert [s.name for s in graph.sites] == ["input.spikes", "lif.spikes", "cubalif.spikes"]
    assert [(lin.n_pre, lin.n_post) for lin in graph.linears] == [(9, 7), (7, 5)]
    assert (graph.model, graph.takes_spikes, graph.unit, graph.vocab) == ("net", True, "step", 0)
    assert graph.macs() == 9 * 7 + 7 * 5
    named = {p for s in graph.stages if isinstance(s, Population) for p in s.parameters}
    linears = {n for lin in graph.linears for p in lin.parts for n in (p.weight, p.bias)}
    assert set(tensors) == named | linears
    assert all(tensors[name].dtype == torch.float32 for name in tensors)


def test_weights_are_the_file_s_and_parameters_those_of_a_step(tmp_path):
    node, layer = lif(7), affine(9, 7)
    graph, tensors = read(tmp_path, layer, node, stepping=Stepping(5e-5))
    weight, bias = matrix_of(graph, tensors)
    np.testing.assert_array_equal(weight, layer.weight.astype(np.float32))
    np.testing.assert_array_equal(bias, layer.bias.astype(np.float32))
    np.testing.assert_allclose(tensors["lif.a_mem"], 5e-5 / node.tau, rtol=1e-6)
    for key in ("r", "v_leak", "v_threshold", "v_reset"):
        np.testing.assert_array_equal(tensors[f"lif.{key}"], getattr(node, key).astype(np.float32))
    assert graph.profile == "NIR, dt = 5e-05, euler"


def test_exact_integration_goes_as_far_as_an_exponential(tmp_path):
    node = cubalif(6)
    stepping = Stepping(3e-3, "exact")  # longer than every tau: no limit here
    _, tensors = read(tmp_path, affine(4, 6), node, stepping=stepping)
    for key, tau in (("a_mem", node.tau_mem), ("a_syn", node.tau_syn)):
        np.testing.assert_allclose(tensors[f"cubalif.{key}"], 1 - np.exp(-3e-3 / tau), rtol=1e-6)


def test_a_step_longer_than_a_time_constant_is_refused_not_unstable(tmp_path):
    with pytest.raises(BadInput, match=r"a step of 0\.01 is longer than tau") as caught:
        read(tmp_path, affine(4, 6), lif(6), stepping=Stepping(1e-2))
    assert "node lif (LIF)" in caught.value.where and "--dt" in caught.value.fix
    # a float32 tau of one step may come out a hair below it
    _, tensors = read(tmp_path, affine(4, 6), lif(6, tau=np.full(6, np.float32(1e-4))))
    assert tensors["lif.a_mem"].tolist() == pytest.approx([1.0] * 6, abs=1e-6)


@pytest.mark.parametrize("dt", [0, -1e-4, float("nan"), float("inf")])
def test_an_impossible_step(dt):
    with pytest.raises(BadInput, match="a step of"):
        Stepping(dt)


def test_time_steps_are_for_nir_graphs_only(tiny_model):
    with pytest.raises(Usage, match="only NIR graphs"):
        read_model(tiny_model, stepping=Stepping())


def test_scalar_parameters_are_meant_for_every_neuron(tmp_path):
    """As snnTorch and Norse export them; nir itself refuses scalars beside arrays."""
    with edited(tmp_path, affine(4, 6), lif(6)) as file:
        node = file["node/nodes/lif"]
        for key, value in (("tau", 4e-4), ("v_threshold", [0.25])):
            del node[key]
            node[key] = np.float32(value)
    _, tensors = read_model(tmp_path / "net.nir")
    assert tensors["lif.a_mem"].tolist() == pytest.approx([0.25] * 6)
    assert tensors["lif.v_threshold"].tolist() == [0.25] * 6


def test_parameters_per_channel_of_an_image(tmp_path):
    threshold = np.array([0.5, 1.0, 2.0]).reshape(3, 1, 1)
    shape = (3, 4, 4)
    neurons = nir.IF(r=np.ones(shape), v_threshold=np.broadcast_to(threshold, shape).copy())
    with edited(tmp_path, image(2, 4, 4), conv(2, 3), neurons) as file:
        del file["node/nodes/if/v_threshold"]
        file["node/nodes/if/v_threshold"] = threshold
    _, tensors = read_model(tmp_path / "net.nir")
    assert tensors["if.v_threshold"].tolist() == [0.5] * 16 + [1.0] * 16 + [2.0] * 16


def test_a_file_without_resets_resets_to_zero(tmp_path):
    with edited(tmp_path, affine(4, 6), lif(6)) as file:
        del file["node/nodes/lif/v_reset"]
    _, tensors = read_model(tmp_path / "net.nir")
    assert tensors["lif.v_reset"].tolist() == [0] * 6


def test_a_batch_of_one_before_the_input_s_shape(tmp_path):
    with edited(tmp_path, affine(4, 6), lif(6)) as file:
        del file["node/nodes/input/shape"]
        file["node/nodes/input/shape"] = [1, 4]
    assert read_model(tmp_path / "net.nir")[0].stages[0].n == 4


def test_names_that_are_mere_numbers_get_their_type(tmp_path):
    nodes = {"input": nir.Input(np.array([4])), "0": affine(4, 6), "1": lif(6),
             "output": nir.Output(np.array([6]))}  # fmt: skip
    edges = [("input", "0"), ("0", "1"), ("1", "output")]
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes, edges))
    graph, _ = read_model(tmp_path / "net.nir")
    assert (graph.stages[1].name, graph.linears[0].name) == ("lif1", "affine0")


def test_neurons_without_a_layer_between_have_one_synapse_each(tmp_path):
    graph, tensors = read(tmp_path, fired(5), affine(5, 3), fired(3))
    weight, bias = matrix_of(graph, tensors)
    np.testing.assert_array_equal(weight, np.eye(5))
    assert not bias.any() and graph.linears[0].name == "if.in"


@pytest.mark.parametrize("kind", [nir.I, nir.LI, nir.CubaLI])
def test_membranes_end_a_network_and_nothing_follows_them(tmp_path, kind):
    one = np.full(6, 1e-3)
    leak = {"v_leak": np.zeros(6)}
    node = {
        nir.I: lambda: nir.I(one),
        nir.LI: lambda: nir.LI(tau=one, r=one, **leak),
        nir.CubaLI: lambda: nir.CubaLI(tau_syn=one, tau_mem=one, r=one, **leak),
    }[kind]()
    graph, _ = read(tmp_path, affine(4, 6), node)
    last = graph.stages[-1]
    assert (last.neuron, last.site) == (kind.__name__.lower(), None)
    with pytest.raises(Unsupported, match="do not spike"):
        read(tmp_path, affine(4, 6), node, affine(6, 3), fired(3))


def test_layers_behind_the_last_population_are_its_readout(tmp_path):
    graph, _ = read(tmp_path, affine(4, 6), fired(6), affine(6, 3))
    assert isinstance(graph.stages[-1], Logits) and graph.stages[-1].n == 3


# ---- what is refused, by name ----------------------------------------------------------------


def graph_of(path, nodes, edges):
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    return path


def ends(n_in=4, n_out=6):
    return {"input": nir.Input(np.array([n_in])), "output": nir.Output(np.array([n_out]))}


def test_a_cycle_names_its_nodes(tmp_path):
    nodes = ends() | {"fc": affine(4, 6), "lif": lif(6), "back": affine(6, 6)}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    with pytest.raises(Unsupported, match=r"a cycle: (lif -> back|back -> lif)"):
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))


@pytest.mark.parametrize("edge", [("input", "lif"), ("fc", "output"), ("input", "output")])
def test_branches_name_their_node(tmp_path, edge):
    nodes = ends() | {"fc": affine(4, 6), "lif": lif(6)}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output"), edge]
    with pytest.raises(Unsupported, match="edges in") as caught:
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))
    assert "node " in caught.value.where and "without branches" in caught.value.fix


@pytest.mark.parametrize("kind", ["Input", "Output"])
def test_a_second_end(tmp_path, kind):
    nodes = ends() | {"fc": affine(4, 6), "lif": lif(6)}
    nodes["other"] = getattr(nir, kind)(np.array([6]))
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    with pytest.raises(Unsupported, match=f"a second {kind}"):
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))
    del nodes["other"], nodes[kind.lower()]
    edges = [pair for pair in edges if kind.lower() not in pair]
    with pytest.raises(BadInput, match=f"no {kind} node"):
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))


def test_a_node_beside_the_way(tmp_path):
    nodes = ends() | {"fc": affine(4, 6), "lif": lif(6), "spare": lif(6)}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    with pytest.raises(BadInput, match="not on the way") as caught:
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))
    assert "node spare (LIF)" in caught.value.where


@pytest.mark.parametrize(
    "node", [nir.Delay(np.ones(6)), nir.NIRGraph.from_list(affine(6, 6), lif(6))]
)
def test_a_type_that_is_not_computed_is_named_with_those_that_are(tmp_path, node):
    nodes = ends() | {"fc": affine(4, 6), "odd": node}
    edges = [("input", "fc"), ("fc", "odd"), ("odd", "output")]
    with pytest.raises(Unsupported, match=f"type {type(node).__name__}") as caught:
        read_model(graph_of(tmp_path / "n.nir", nodes, edges))
    assert "node odd" in caught.value.where
    assert all(name in caught.value.fix for name in SUPPORTED)


def test_a_network_without_neurons(tmp_path):
    with pytest.raises(BadInput, match="no neurons"):
        read_model(graph_of(tmp_path / "n.nir", ends(4, 4), [("input", "output")]))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ((affine(4, 6), lif(5)), "tau of shape"),
        ((affine(4, 6), affine(5, 3), fired(3)), "5 inputs, but it is fed"),
        ((affine(4, 6), conv(2, 3), fired(6)), "channels, height, width"),
        ((image(3, 5, 5), conv(2, 3), fired(75)), "for 3 channels"),
        ((image(2, 2, 2), conv(2, 3, padding=0), fired(3)), "outputs of shape"),
        ((affine(4, 6), lif(6, tau=np.full(6, -1.0))), "tau is -1"),
        ((affine(4, 6), lif(6, tau=np.zeros(6))), "tau is 0"),
        ((affine(4, 6), lif(6, r=np.full(6, np.nan))), "r holds NaN"),
        ((affine(4, 6), lif(6, v_threshold=np.full(6, np.inf))), "v_threshold holds NaN or inf"),
        ((affine(4, 6), lif(6, r=np.full(6, 1e39))), "r beyond float32"),
    ],
)
def test_parameters_that_do_not_fit_are_named(tmp_path, nodes, said):
    nodes = nodes if isinstance(nodes[0], nir.Input) else (image(4), *nodes)
    out = nir.Output(np.array([6]))
    raw_graph(tmp_path / "n.nir", *nodes, out, shape=(2, 2))
    with pytest.raises(BadInput, match=said) as caught:
        read_model(tmp_path / "n.nir")
    assert "node n" in caught.value.where


def test_weights_that_are_not_finite_are_named(tmp_path):
    from compiler.weights import quantize

    layer = affine(4, 6)
    layer.weight[2, 1] = np.nan
    with pytest.raises(BadInput, match="NaN") as caught:
        quantize(*read(tmp_path, layer, lif(6)))
    assert caught.value.where == "affine.weight"


def test_a_layer_too_large_to_unroll_is_refused_before_it_is(tmp_path):
    """2 x 128 x 128 pixels to as many: a thousand million synapses, of which few are not 0."""
    nodes = (image(2, 128, 128), conv(2, 2), nir.Threshold(np.zeros((2, 128, 128))))
    read(tmp_path, *nodes)  # as a list it has few
    with pytest.raises(Unsupported, match="32768 x 32768 synapses") as caught:
        compile_model(tmp_path / "net.nir", "loihi-like")
    assert caught.value.where == "conv2d" and "lists" in caught.value.fix
    with pytest.raises(Unsupported, match="65,536 at most"):
        read(tmp_path, image(5, 128, 128), nir.Threshold(np.zeros((5, 128, 128))))

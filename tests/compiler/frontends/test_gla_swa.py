"""The graph of a model takes every tensor once and keeps each head's neurons together."""

import pytest
import torch

from compiler.audit.graph import verify
from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build, tensor_shapes
from compiler.graph import Gla, Swiglu, Window
from compiler.weights import fuse
from hw_models.errors import BadInput

ODD = GlaSwaConfig(11, 24, 3, 6, 2, 10, 5)
PUBLISHED = GlaSwaConfig(152_064, 3584, 28, 28, 4, 18_944, 4096)


@pytest.mark.parametrize("config", [ODD, PUBLISHED, GlaSwaConfig(1, 2, 1, 1, 1, 1, 1)])
def test_every_row_of_every_tensor_is_used_exactly_once(config):
    graph = build(config, "m")
    verify(graph)
    rows = {}
    for linear in graph.linears:
        for part in linear.parts:
            for name in filter(None, (part.weight, part.bias)):
                pairs = zip(part.rows[::2], part.rows[1::2], strict=True)
                rows.setdefault(name, []).extend(r for a, b in pairs for r in range(a, b))
    vectors = [s.weight for s in graph.stages if hasattr(s, "weight")]
    shapes = tensor_shapes(config)
    assert sorted([*rows, *vectors, graph.embedding]) == sorted(shapes)
    assert all(sorted(taken) == list(range(shapes[name][0])) for name, taken in rows.items())


def test_the_published_model_has_its_published_size():
    """7.6165 billion with the gate's factors of rank 16; dense gates add 24.8 million."""
    shapes = tensor_shapes(PUBLISHED)
    total = sum(torch.Size(s).numel() for s in shapes.values())
    gates = 14 * (512 * 3584 - 16 * (3584 + 512))
    assert round((total - gates) / 1e9, 4) == 7.6165
    assert round(gates / 1e6, 1) == 24.8
    head = 152_064 * 3584
    assert round((build(PUBLISHED, "m").macs() - head - gates) / 1e9, 3) == 6.526


def test_layers_alternate_and_begin_with_linear_attention():
    stages = [s for s in build(ODD, "m").stages if isinstance(s, Gla | Window)]
    assert [type(s) for s in stages] == [Gla, Window, Gla]
    assert [s.head_dim for s in stages] == [4, 4, 4] and stages[1].window == 5


def labelled(config):
    """Weights whose rows say where they come from: (tensor's number, row)."""
    shapes = tensor_shapes(config)
    return {
        name: torch.stack([torch.full(shape[1:], 1000.0 * t + r) for r in range(shape[0])])
        for t, (name, shape) in enumerate(shapes.items())
    }


def test_a_head_finds_its_queries_keys_values_and_gates_side_by_side():
    tensors = labelled(ODD)
    for layer, kinds in ((0, "q k v gk"), (1, "q k v")):
        graph = build(ODD, "m")
        linear = graph.linear_from(f"layers.{layer}.attn_in")
        weight, bias = fuse(linear, tensors)
        blocks = weight.shape[0] // 2  # two key/value heads, each with three query heads
        for head in range(2):
            expected, expected_bias = [], []
            for kind in kinds.split():
                n = 12 if kind == "q" else 4
                at = f"model.layers.{layer}.attn.{kind}_proj."
                expected.append(tensors[at + "weight"][n * head : n * (head + 1)])
                expected_bias.append(tensors[at + "bias"][n * head : n * (head + 1)])
            own = slice(blocks * head, blocks * (head + 1))
            assert torch.equal(weight[own], torch.cat(expected))
            assert torch.equal(bias[own], torch.cat(expected_bias))


def test_gate_and_up_alternate():
    tensors, graph = labelled(ODD), build(ODD, "m")
    stage = next(s for s in graph.stages if isinstance(s, Swiglu))
    weight, bias = fuse(graph.linear(stage.linear), tensors)
    assert torch.equal(weight[0::2], tensors["model.layers.0.mlp.gate_proj.weight"])
    assert torch.equal(weight[1::2], tensors["model.layers.0.mlp.up_proj.weight"])
    assert not bias.any() and bias.shape == (20,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 25}, "hidden_size 25 is not a multiple of num_attention_heads 6"),
        ({"num_key_value_heads": 4}, "num_attention_heads 6 is not a multiple"),
        ({"num_attention_heads": 8, "num_key_value_heads": 8}, "head size 3 is odd"),
        ({"sliding_window": 0}, "sliding_window is 0"),
    ],
)
def test_sizes_that_do_not_agree_are_refused(change, said):
    sizes = {name: getattr(ODD, name) for name in GlaSwaConfig.__dataclass_fields__}
    with pytest.raises(BadInput, match=said):
        GlaSwaConfig(**(sizes | change))


def test_a_site_wider_than_counts_allow_is_refused():
    wide = GlaSwaConfig(4, 8, 1, 2, 1, 65_537, 4)
    with pytest.raises(BadInput, match="65537 channels") as refused:
        build(wide, "m")
    assert refused.value.where == "layers.0.down_in"

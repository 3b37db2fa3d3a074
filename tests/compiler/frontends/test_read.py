"""Configs and tensors: what is not exactly this model is refused by name."""

import json
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import gla_swa_config
from compiler.frontends.keys import LARGEST
from compiler.frontends.read import read_model, read_source
from compiler.weights import quantize
from hw_models.errors import BadInput, SpikeloomError, Unsupported

PUBLISHED = {
    "architectures": ["GLAswaForCausalLM"],
    "attn_layers": list(range(1, 28, 2)),
    "attn_mode": "chunk",
    "bos_token_id": 151643,
    "conv_size": 4,
    "elementwise_affine": True,
    "gate_logit_normalizer": 16,
    "gate_low_rank_dim": 16,
    "hidden_act": "swish",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "model_type": "gla_swa",
    "norm_eps": 1e-06,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rope_theta": 1000000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_short_conv": False,
    "vocab_size": 152064,
}
"""SpikingBrain-7B's config.json."""


def test_the_published_config_is_read_and_what_changes_nothing_is_ignored():
    expected = GlaSwaConfig(152064, 3584, 28, 28, 4, 18944, 4096, 1e6, 1e-6, 16)
    assert gla_swa_config(PUBLISHED) == expected


def test_keys_with_a_published_default_may_be_left_out():
    optional = {"rope_theta", "norm_eps", "gate_logit_normalizer", "attn_layers", "hidden_act"}
    short = {k: v for k, v in PUBLISHED.items() if k not in optional}
    assert gla_swa_config(short) == gla_swa_config(PUBLISHED)


SIZES = [k for k in LARGEST if k in PUBLISHED and k != "max_position_embeddings"]


@pytest.mark.parametrize("key", [k for k in SIZES if k != "gate_logit_normalizer"])
def test_a_missing_size_is_named(key):
    with pytest.raises(BadInput, match=f"{key} is missing"):
        gla_swa_config({k: v for k, v in PUBLISHED.items() if k != key})


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize(
    "value", [0, -1, 10**9 * 7, 10**400, 28.0, "28", None, True, [28], math.nan, {}]
)
def test_an_impossible_size_is_refused_by_key(key, value):
    with pytest.raises(BadInput, match=key):
        gla_swa_config(PUBLISHED | {key: value})


@pytest.mark.parametrize("key", ["rope_theta", "norm_eps"])
@pytest.mark.parametrize("value", [0, -1e-6, math.inf, math.nan, "1e6", None, False, 10**400])
def test_an_impossible_number_is_refused_by_key(key, value):
    with pytest.raises(BadInput, match=key):
        gla_swa_config(PUBLISHED | {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tie_word_embeddings", True),
        ("use_short_conv", True),
        ("hidden_act", "gelu"),
        ("elementwise_affine", False),
        ("rope_scaling", {"type": "yarn", "factor": 4.0}),
        ("attn_layers", [0, 2, 4]),
        ("attn_layers", None),
        ("head_dim", 64),
    ],
)
def test_a_key_that_changes_the_meaning_is_refused_with_its_value(key, value):
    with pytest.raises(Unsupported, match=key) as refused:
        gla_swa_config(PUBLISHED | {key: value})
    assert re.split(r"[,:]", str(value).strip("{}[]"))[0] in refused.value.what
    assert "supported: " in refused.value.fix


def test_the_other_name_of_swish_is_known():
    assert gla_swa_config(PUBLISHED | {"hidden_act": "silu", "head_dim": 128}).head_dim == 128


@given(
    key=st.sampled_from(sorted(PUBLISHED)),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=5,
    ),
)
@settings(max_examples=100)
def test_any_value_anywhere_gives_a_config_or_a_sentence(key, value):
    try:
        gla_swa_config(PUBLISHED | {key: value})
    except SpikeloomError as refused:
        assert refused.what and refused.where == "config"


# ---- tensors


def test_another_model_type_is_unsupported_and_the_known_ones_are_named(checkpoint, saved):
    for kind in ("sse_swa_moba", None, 7, ["gla_swa"]):
        checkpoint["config"]["model_type"] = kind
        with pytest.raises(Unsupported, match="model_type") as refused:
            read_model(saved(checkpoint))
        assert "gla_swa" in refused.value.fix
        assert kind is None or str(kind)[:12] in refused.value.what


@pytest.mark.parametrize(
    "name",
    ["lm_head.weight", "model.layers.0.attn.gk_proj.bias", "model.layers.1.attn_norm.weight"],
)
def test_a_missing_tensor_is_named(checkpoint, saved, name):
    del checkpoint["state_dict"][name]
    with pytest.raises(BadInput, match=f"tensor {name} is missing"):
        read_model(saved(checkpoint))


def test_a_misspelt_tensor_is_named_with_what_it_may_be(checkpoint, saved):
    state = checkpoint["state_dict"]
    state["model.layers.1.mlp.gate_prj.weight"] = state.pop("model.layers.1.mlp.gate_proj.weight")
    with pytest.raises(BadInput, match=r"1\.mlp\.gate_proj\.weight is missing;") as refused:
        read_model(saved(checkpoint))
    assert "model.layers.1.mlp.gate_prj.weight" in refused.value.fix


def test_every_tensor_under_another_prefix_is_counted(checkpoint, saved):
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {f"_orig_mod.{n}": t for n, t in state.items()}
    with pytest.raises(BadInput, match=f"and {len(state) - 1} more") as refused:
        read_model(saved(checkpoint))
    assert "_orig_mod.model.embeddings.weight" in refused.value.fix


def test_an_extra_tensor_is_named_with_the_nearest_name(checkpoint, saved):
    checkpoint["state_dict"]["model.layers.1.attn.g_norm.weight"] = torch.ones(4)
    with pytest.raises(BadInput, match=r"model\.layers\.1\.attn\.g_norm\.weight has no place") as e:
        read_model(saved(checkpoint))
    assert "model.layers.0.attn.g_norm.weight" in e.value.fix


def test_names_that_would_write_to_the_terminal_are_escaped_and_cut(checkpoint, saved):
    checkpoint["state_dict"]["\x1b[31m" + "x" * 10_000] = torch.ones(1)
    with pytest.raises(BadInput, match="has no place") as refused:
        read_model(saved(checkpoint))
    assert str(refused.value).isprintable() and len(refused.value.what) < 200


@pytest.mark.parametrize("shape", [(12, 17), (17, 13), (17 * 12,), (1, 17, 12), (0, 12), ()])
def test_a_wrong_shape_is_named_with_the_right_one(checkpoint, saved, shape):
    checkpoint["state_dict"]["lm_head.weight"] = torch.ones(shape)
    with pytest.raises(BadInput, match=r"\[17, 12\] expected") as refused:
        read_model(saved(checkpoint))
    assert refused.value.where == "lm_head.weight"


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int64, torch.float64, torch.bool, torch.float8_e4m3fn]
)
def test_a_wrong_dtype_is_named(checkpoint, saved, published, dtype):
    state = checkpoint["state_dict"]
    state["model.norm.weight"] = state["model.norm.weight"].to(dtype)
    for path in (saved(checkpoint), published(checkpoint)):
        with pytest.raises(BadInput, match=f"tensor of {str(dtype)[6:]}") as refused:
            read_model(path)
        assert refused.value.where == "model.norm.weight"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_floats_are_taken_as_they_are(checkpoint, saved, dtype):
    state = {n: t.to(dtype) for n, t in checkpoint["state_dict"].items()}
    checkpoint["state_dict"] = state
    _, tensors = read_model(saved(checkpoint))
    assert all(tensors[n].dtype == dtype and torch.equal(tensors[n], t) for n, t in state.items())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight"])
def test_weights_that_are_not_finite_are_refused_by_name_before_they_are_used(
    checkpoint, saved, name, value
):
    checkpoint["state_dict"][name].view(-1)[3] = value
    graph, tensors = read_model(saved(checkpoint))
    with pytest.raises(BadInput, match="NaN or infinity") as refused:
        quantize(graph, tensors)
    assert refused.value.where == name


# ---- the low-rank gate of the published code


def low_rank(checkpoint, rank, bias="1.bias"):
    """Replace the dense gate by two factors of small integers; returns their product."""
    state, at = checkpoint["state_dict"], "model.layers.0.attn.gk_proj."
    kv, hidden = state.pop(at + "weight").shape
    rng = torch.Generator().manual_seed(0)
    down = torch.randint(-8, 9, (rank, hidden), generator=rng)
    up = torch.randint(-8, 9, (kv, rank), generator=rng)
    state[at + "0.weight"], state[at + "1.weight"] = down.bfloat16(), up.bfloat16()
    state[at + bias] = state.pop(at + "bias")
    return (up @ down).float()  # integers: exact in any order


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_a_low_rank_gate_is_multiplied_out(checkpoint, saved, rank):
    at = "model.layers.0.attn.gk_proj."
    bias = checkpoint["state_dict"][at + "bias"]
    product = low_rank(checkpoint, rank)
    _, tensors = read_model(saved(checkpoint))
    assert torch.equal(tensors[at + "weight"], product)
    assert torch.equal(tensors[at + "bias"], bias)
    assert not any(".gk_proj.0" in name for name in tensors)


def test_broken_factors_of_a_gate_are_named(checkpoint, saved):
    low_rank(checkpoint, 3)
    state, at = checkpoint["state_dict"], "model.layers.0.attn.gk_proj."
    up = state.pop(at + "1.weight")
    with pytest.raises(BadInput, match=r"gk_proj\.1\.weight is missing"):
        read_model(saved(checkpoint))
    for other in (up[:, :2].clone(), up[0].clone(), torch.ones(())):
        state[at + "1.weight"] = other
        with pytest.raises(BadInput, match="expected") as refused:
            read_model(saved(checkpoint))
        assert refused.value.where == at + "1.weight"
    state[at + "1.weight"] = up
    for other in (torch.ones(()), torch.ones(0, 12), torch.ones(20, 12)):
        state[at + "0.weight"] = other
        with pytest.raises(BadInput, match="expected") as refused:
            read_model(saved(checkpoint))
        assert refused.value.where == at + "0.weight"


@pytest.mark.parametrize("whole", [True, False])
def test_a_config_that_is_wrong_is_named_by_its_file(whole, tmp_path):
    file = tmp_path / "config.json"
    wrong = json.dumps(PUBLISHED | {"num_attention_heads": 5})
    file.write_text(wrong if whole else wrong[:-9])
    for path in (file, tmp_path):
        with pytest.raises(BadInput, match="multiple of" if whole else "truncated") as refused:
            read_source(path)
        assert refused.value.where.endswith(str(file))

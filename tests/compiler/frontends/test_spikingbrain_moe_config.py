"""Configs of mixtures of experts: every key is read or refused, and the sizes agree."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.audit.graph import verify
from compiler.frontends.spikingbrain_moe import MEANINGS, spikingbrain_moe
from compiler.graph import Parallel, Router, Swiglu
from hw_models.errors import BadInput, SpikeloomError, Unsupported
from tests.experts import CONFIG


def stages(config, kind, context=None):
    graph = spikingbrain_moe(config, "m", context).graph
    return [s for s in graph.stages if isinstance(s, kind)]


def test_layers_are_numbered_from_0_in_any_order():
    config = CONFIG | {"full_attention_layers": [2, 0], "mlp_only_layers": [2, 1]}
    assert [s.window for s in stages(config, Parallel, 9)] == [9, 3, 9]
    assert [s.name for s in stages(config, Router)] == ["layers.0.route"]
    assert [s.n for s in stages(config, Swiglu)] == [140, 36, 36, 36, 36, 40, 40]
    none = CONFIG | {"full_attention_layers": [], "mlp_only_layers": []}
    assert [s.window for s in stages(none, Parallel)] == [3, 3, 3]
    assert len(stages(none, Router)) == 3


def test_full_attention_is_a_window_over_the_context():
    assert stages(CONFIG, Parallel)[0].window == 64
    assert stages(CONFIG | {"max_position_embeddings": 131_072}, Parallel)[0].window == 4096
    for context in (0, -1, 65):
        with pytest.raises(BadInput, match=f"context of {context} tokens; the model's is 64"):
            stages(CONFIG, Parallel, context)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("tie_word_embeddings", True),
        ("scoring_func", "relu"),
        ("scoring_func", ["softmax"]),
        ("norm_topk_prob", True),
        ("num_shared_experts", 2),
        ("num_shared_experts", 0),
        ("rope_scaling", {"rope_type": "yarn"}),
        ("quantization_config", {"bits": 4}),
        ("head_dim", 8),
    ],
)
def test_a_key_that_changes_the_meaning_is_refused_by_name(key, value):
    with pytest.raises(Unsupported, match=f"^{key} is ") as refused:
        stages(CONFIG | {key: value}, Router)
    assert refused.value.fix.startswith("supported: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_key_value_heads": 4}, "num_attention_heads 6 is not a multiple"),
        ({"hidden_size": 25}, "hidden_size 25 is not a multiple of num_attention_heads 6"),
        ({"num_attention_heads": 8, "num_key_value_heads": 8}, "head size 3 is odd"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_experts": 0}, "num_experts is 0"),
        ({"num_experts": -16}, "num_experts is -16"),
        ({"num_experts": 10**9}, "num_experts is 1000000000"),
        ({"num_experts_per_tok": 0}, "num_experts_per_tok is 0"),
        ({"num_experts_per_tok": 5}, "num_experts_per_tok is 5, num_experts is 4"),
        ({"moe_intermediate_size": 0}, "moe_intermediate_size is 0"),
        ({"moe_intermediate_size": 10**30}, "moe_intermediate_size is"),
        ({"shared_expert_intermediate_size": None}, "shared_expert_intermediate_size is None"),
        ({"hidden_size": -24}, "hidden_size is -24"),
        ({"vocab_size": 1.0}, "vocab_size is 1.0, not a whole number"),
        ({"num_sink_tokens": 0}, "num_sink_tokens is 0"),
        ({"num_sink_tokens": True}, "num_sink_tokens is True"),
        ({"sliding_window": 0}, "sliding_window is 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"full_attention_layers": [0, 3]}, "full_attention_layers is [0, 3]"),
        ({"full_attention_layers": [-1]}, "full_attention_layers is [-1]"),
        ({"full_attention_layers": [1, 1]}, "full_attention_layers is [1, 1]"),
        ({"full_attention_layers": 7}, "full_attention_layers is 7"),
        ({"full_attention_layers": [0.0]}, "full_attention_layers is [0.0]"),
        ({"mlp_only_layers": [True]}, "mlp_only_layers is [True]"),
        ({"mlp_only_layers": ["0"]}, "mlp_only_layers is ['0']"),
        ({"mlp_only_layers": None}, "mlp_only_layers is None"),
        ({"mlp_only_layers": [28]}, "mlp_only_layers is [28]"),
        ({"branch_weights": [1.0]}, "branch_weights is [1.0]"),
        ({"branch_weights": 0.5}, "branch_weights is 0.5"),
        ({"branch_weights": [0.5, -0.5]}, "branch_weights is -0.5"),
        ({"branch_weights": [math.nan, 1.0]}, "branch_weights is nan"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
        ({"rope_theta": math.inf}, "rope_theta is inf"),
    ],
)
def test_impossible_values_are_refused_by_key(change, said):
    with pytest.raises(BadInput, match=re.escape(said)) as refused:
        stages(CONFIG | change, Router)
    assert refused.value.where == "config"


@pytest.mark.parametrize("key", sorted(CONFIG.keys() - {"model_type", "rope_theta"}))
def test_a_missing_key_is_named(key):
    with pytest.raises(BadInput, match=f"{key} is missing"):
        stages({k: v for k, v in CONFIG.items() if k != key}, Router)


def test_more_experts_than_anyone_has_are_refused_before_they_are_built():
    many = CONFIG | {"num_hidden_layers": 1024, "num_experts": 1024}
    with pytest.raises(BadInput, match="1024 layers of 1024 experts") as refused:
        stages(many, Router)
    assert "65,536" in refused.value.fix


@given(
    key=st.sampled_from([*sorted(CONFIG), *sorted(MEANINGS), "branch_weights", "head_dim"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers(-2, 70) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=5,
    ),
)
@settings(max_examples=100, deadline=None)
def test_any_value_anywhere_gives_a_graph_or_a_sentence(key, value):
    try:
        verify(spikingbrain_moe(CONFIG | {key: value}, "m", None).graph)
    except SpikeloomError as refused:
        assert refused.what and refused.where

"""Configs of Llama and Qwen2: every key that would change what is computed is read or refused."""

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.audit.graph import verify
from compiler.frontends.decoder import llama, qwen2
from compiler.graph import Window
from hw_models.errors import BadInput, SpikeloomError, Unsupported

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 16
COMMON = {"vocab_size": 23, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON |= {"num_key_value_heads": 2, "intermediate_size": 40, "rope_theta": 100.0}
QWEN2 = COMMON | {"model_type": "qwen2", "hidden_act": "silu", "use_sliding_window": False}
LLAMA = COMMON | {"model_type": "llama", "rope_scaling": LLAMA3, "head_dim": 8}
FULL = {"llama": LLAMA, "qwen2": QWEN2}
READ = {"llama": llama, "qwen2": qwen2}


def windows(config, context=None):
    graph = READ[config["model_type"]](config, "m", context).graph
    return [s for s in graph.stages if isinstance(s, Window)]


def test_full_attention_is_a_window_over_the_context():
    assert [w.window for w in windows(QWEN2)] == [4096, 4096]
    assert windows(QWEN2 | {"max_position_embeddings": 512})[0].window == 512
    assert windows(QWEN2 | {"max_position_embeddings": 131_072}, 131_072)[0].window == 131_072
    for context in (0, -1, 513):
        with pytest.raises(BadInput, match=f"context of {context} tokens; the model's is 512"):
            windows(QWEN2 | {"max_position_embeddings": 512}, context)


def test_rope_keys_of_newer_configs_mean_the_same():
    old = FULL["llama"]
    new = {k: v for k, v in old.items() if k not in ("rope_theta", "rope_scaling")}
    assert windows(new | {"rope_parameters": {"rope_theta": 100.0, **LLAMA3}}) == windows(old)
    plain = {"rope_type": "default", "rope_theta": 5e5}
    (first, _) = windows(new | {"rope_parameters": plain})
    assert first.theta == 5e5 and first.scaling is None
    assert windows(new)[0].theta == 10_000.0


def test_heads_may_have_a_size_of_their_own():
    config = llama(FULL["llama"], "m", None)
    linear = config.graph.linear("layers.0.o")
    assert (linear.n_pre, linear.n_post) == (32, 24)


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("llama", {"attention_bias": True}, "attention_bias is True"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "'linear'"),
        ("llama", {"rope_scaling": {"rope_type": ["llama3"]}}, r"\['llama3'\]"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ],
)
def test_a_key_that_changes_the_meaning_is_refused_by_name(model, change, said):
    with pytest.raises(Unsupported, match=said) as refused:
        windows(FULL[model] | change)
    assert "supported: " in refused.value.fix


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple"),
        ({"head_dim": None, "hidden_size": 26}, "hidden_size 26 is not a multiple"),
        ({"head_dim": 7}, "head size 7 is odd"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"head_dim": 1 << 16}, "channels"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"num_key_value_heads": 10**9}, "num_key_value_heads"),
        ({"vocab_size": -5}, "vocab_size is -5"),
        ({"hidden_size": 10**400}, "hidden_size"),
        ({"intermediate_size": 1.5}, "intermediate_size is 1.5, not a whole number"),
        ({"max_position_embeddings": "long"}, "max_position_embeddings is 'long'"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes'"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps"),
        ({"rope_theta": math.inf}, "rope_theta"),
        ({"rope_scaling": 8}, "rope_scaling is 8"),
        ({"rope_scaling": LLAMA3 | {"factor": 0}}, "factor is 0"),
        ({"rope_scaling": LLAMA3 | {"factor": 0.5}}, "factor 0.5"),
        ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "high_freq_factor 1.0"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "factor is missing"),
    ],
)
def test_impossible_values_are_refused_by_key(change, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        windows(FULL["llama"] | change)


@given(
    model=st.sampled_from(sorted(FULL)),
    key=st.sampled_from([*sorted(LLAMA), "rope_parameters", "layer_types", "tie_word_embeddings"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["rope_type", "type", "factor", "rope_theta"]), inner)
        ),
        max_leaves=5,
    ),
)
@settings(max_examples=60, deadline=None)
def test_any_value_anywhere_gives_a_graph_or_a_sentence(model, key, value):
    config = FULL[model] | {key: value, "model_type": model}
    if key == "num_hidden_layers" and isinstance(value, int) and value > 8:
        return
    try:
        verify(READ[model](config, "m", None).graph)
    except SpikeloomError as refused:
        assert refused.what and refused.where

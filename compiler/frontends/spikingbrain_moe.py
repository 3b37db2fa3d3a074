"""Graph of a spikingbrain_moe model: SpikingBrain-76B-A12B (arXiv 2509.05276).

Neither weights nor code of it are published. The config's keys and the tensors' names are ours,
after Hugging Face's Qwen2-MoE. Published are (sections 2.2, 3.1, 3.2): the layers' kinds; two
branches per layer, normalised and merged as w1 o1 + w2 o2; linear attention of sigmoid(q) and
sigmoid(k) whose decay is tied to the key, g = 1 - k; 128 sink tokens before the text, seen by
all, in the softmax branch; one shared expert and the best of 16 by softmax or sigmoid scores.
Assumed, because the report leaves it open:

- the sizes of Qwen2.5-7B, which it starts from, every expert as wide as the feed-forward layer
  there: 76.1 billion parameters, 11.9 active for a token, as in its name
- both branches read the same q, k, v (with Qwen's biases) and share o: all of q, k, v is reused
  (3.1), and with sets of their own there would be 76.9 billion parameters
- each branch is normalised like SpikingBrain-7B's linear attention: RMS over a head's outputs,
  one weight vector per layer and branch, before o
- w1 = w2 = 1/2, as in SpikingBrain 2.0; other values are the same model with scaled norm weights
- RoPE, as in the 7B, in the softmax branch alone; sink tokens take the first positions
- what a layer's sink tokens give as keys (after RoPE) and values does not depend on the text, for
  they see each other alone: stored per layer, as int8 like all others; the linear branch starts
  from an empty state without them, and they take no room in the window
- the window of the 7B, 4,096 tokens
- router: softmax over all experts, the weights of several not made to add up to 1, no bias; the
  shared expert has no gate
"""

from collections.abc import Iterator, Mapping
from functools import partial
from reprlib import repr as shown
from typing import Any, Final

from compiler.frontends.assembly import Assembly, by_head
from compiler.frontends.config import SpikingBrainMoeConfig
from compiler.frontends.decoder import EMBEDDING, FINAL_NORM, HEAD, context_length
from compiler.frontends.keys import check_meanings, layer_numbers, positive, size
from compiler.frontends.model import Expected, Form, Model
from compiler.graph import Graph, Parallel, Part
from hw_models.errors import BadInput

MEANINGS: Final[dict[str, tuple[object, ...]]] = {
    "hidden_act": ("silu", "swish"),
    "tie_word_embeddings": (False,),
    "scoring_func": ("softmax", "sigmoid"),
    "norm_topk_prob": (False,),
    "num_shared_experts": (1,),
    "rope_scaling": (None,),
    "quantization_config": (None,),
}


def spikingbrain_moe(found: Mapping[str, Any], name: str, context: int | None) -> Model:
    """The model of a config.json; context: tokens that full attention is compiled for.

    Raises BadInput and Unsupported by key.
    """
    config = _config(found, context)
    return Model(build(config, name), partial(expected, config))


def _config(found: Mapping[str, Any], context: int | None) -> SpikingBrainMoeConfig:
    layers = size(found, "num_hidden_layers")
    check_meanings(found, MEANINGS)
    config = SpikingBrainMoeConfig(
        vocab_size=size(found, "vocab_size"),
        hidden_size=size(found, "hidden_size"),
        num_hidden_layers=layers,
        num_attention_heads=size(found, "num_attention_heads"),
        num_key_value_heads=size(found, "num_key_value_heads"),
        intermediate_size=size(found, "intermediate_size"),
        sliding_window=size(found, "sliding_window"),
        context=context_length(context, size(found, "max_position_embeddings")),
        full_attention_layers=layer_numbers(found, "full_attention_layers", layers),
        mlp_only_layers=layer_numbers(found, "mlp_only_layers", layers),
        num_experts=size(found, "num_experts"),
        num_experts_per_tok=size(found, "num_experts_per_tok"),
        moe_intermediate_size=size(found, "moe_intermediate_size"),
        shared_expert_intermediate_size=size(found, "shared_expert_intermediate_size"),
        num_sink_tokens=size(found, "num_sink_tokens"),
        scoring_func=found.get("scoring_func", "softmax"),
        branch_weights=_branch_weights(found),
        rope_theta=positive(found, "rope_theta", 1e6),
        rms_norm_eps=positive(found, "rms_norm_eps", 1e-6),
    )
    check_meanings(found, {"head_dim": (None, config.head_dim)})
    return config


def _branch_weights(found: Mapping[str, Any]) -> tuple[float, float]:
    value = found.get("branch_weights", [0.5, 0.5])
    if not isinstance(value, list) or len(value) != 2:
        raise BadInput(
            f"branch_weights is {shown(value)}",
            where="config",
            fix="two numbers: of linear and of softmax attention",
        )
    linear, softmax = (positive({"branch_weights": w}, "branch_weights") for w in value)
    return linear, softmax


def tensor_shapes(config: SpikingBrainMoeConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the graph with its shape."""
    hidden, d = config.hidden_size, config.head_dim
    sinks = (config.num_sink_tokens, config.num_key_value_heads, d)
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        shapes[at + "input_layernorm.weight"] = (hidden,)
        for name, rows in (("q", hidden), ("k", config.kv_size), ("v", config.kv_size)):
            shapes[at + f"self_attn.{name}_proj.weight"] = (rows, hidden)
            shapes[at + f"self_attn.{name}_proj.bias"] = (rows,)
        shapes |= {at + f"self_attn.{name}": sinks for name in ("sink_key", "sink_value")}
        for name in ("linear_norm", "softmax_norm"):
            shapes[at + f"self_attn.{name}.weight"] = (d,)
        shapes[at + "self_attn.o_proj.weight"] = (hidden, hidden)
        shapes[at + "post_attention_layernorm.weight"] = (hidden,)
        for block, n in _feed_forward(config, i):
            shapes[at + f"mlp.{block}gate_proj.weight"] = (n, hidden)
            shapes[at + f"mlp.{block}up_proj.weight"] = (n, hidden)
            shapes[at + f"mlp.{block}down_proj.weight"] = (hidden, n)
        if i not in config.mlp_only_layers:
            shapes[at + "mlp.gate.weight"] = (config.num_experts, hidden)
    shapes[FINAL_NORM] = (hidden,)
    shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def _feed_forward(config: SpikingBrainMoeConfig, layer: int) -> Iterator[tuple[str, int]]:
    """What names of a layer's SwiGLUs begin with, behind "mlp.", and their channels."""
    if layer in config.mlp_only_layers:
        yield "", config.intermediate_size
    else:
        yield "shared_expert.", config.shared_expert_intermediate_size
        for e in range(config.num_experts):
            yield f"experts.{e}.", config.moe_intermediate_size


def expected(config: SpikingBrainMoeConfig, forms: Mapping[str, Form]) -> Expected:
    return Expected(tensor_shapes(config))


def build(config: SpikingBrainMoeConfig, model: str) -> Graph:
    """The operations of one token, in order; profile `paper`: every block linear is spiking."""
    made = Assembly(config.hidden_size, config.rms_norm_eps)
    sizes = (config.shared_expert_intermediate_size, config.moe_intermediate_size)
    choice = (config.num_experts, config.num_experts_per_tok, config.scoring_func)
    for i in range(config.num_hidden_layers):
        at, src = f"layers.{i}.", f"model.layers.{i}."
        made.norm(at + "attn_norm", at + "attn_in", src + "input_layernorm.weight")
        made.attention(
            at, _attention(config, i), _projections(config, i), src + "self_attn.o_proj.weight"
        )
        dense = i in config.mlp_only_layers
        norm = (at + "mlp_norm", at + "mlp_in", src + "post_attention_layernorm.weight")
        made.norm(*norm, None if dense else at + "router_in")
        if dense:
            made.mlp(at, src + "mlp.", config.intermediate_size)
        else:
            made.mixture(at, src + "mlp.", sizes, *choice)
    context = config.context if config.full_attention_layers else None
    return made.finish(model, EMBEDDING, FINAL_NORM, HEAD, config.vocab_size, context)


def _projections(config: SpikingBrainMoeConfig, layer: int) -> Iterator[Part]:
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    return by_head(f"model.layers.{layer}.self_attn.", *heads, ("k", "v"), bias=True)


def _attention(config: SpikingBrainMoeConfig, layer: int) -> Parallel:
    at, src = f"layers.{layer}.", f"model.layers.{layer}.self_attn."
    full = layer in config.full_attention_layers
    return Parallel(
        name=at + "parallel",
        linear=at + "qkv",
        site=at + "o_in",
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        window=config.context if full else config.sliding_window,
        theta=config.rope_theta,
        sinks=config.num_sink_tokens,
        sink_key=src + "sink_key",
        sink_value=src + "sink_value",
        linear_norm=src + "linear_norm.weight",
        window_norm=src + "softmax_norm.weight",
        eps=config.rms_norm_eps,
        merge=config.branch_weights,
    )

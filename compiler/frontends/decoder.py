"""Graphs of decoders with full attention, by the names of their published checkpoints.

`llama` (Llama 2 to 3.x, and what shares its form) and `qwen2` (Qwen2, Qwen2.5), which differ
in the biases of q, k and v. Full attention is window attention over the whole `context`.
"""

from collections.abc import Mapping
from functools import partial
from reprlib import repr as shown
from typing import Any, Final

from compiler.frontends.assembly import Assembly, by_head
from compiler.frontends.config import DecoderConfig, equal_heads
from compiler.frontends.keys import check_meanings, positive, size
from compiler.frontends.model import Expected, Form, Model
from compiler.graph import Graph, Window
from hw_models.errors import BadInput, Unsupported

CONTEXT: Final = 4096
"""Tokens of context when none is chosen (fewer if the model was made for fewer)."""

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"
ROTARY = ".rotary_emb.inv_freq"  # a buffer of old checkpoints, recomputed from rope_theta

MEANINGS: Final[dict[str, tuple[object, ...]]] = {
    "hidden_act": ("silu", "swish"),
    "quantization_config": (None,),
    "partial_rotary_factor": (1.0, None),
}
LLAMA: Final[dict[str, tuple[object, ...]]] = {"attention_bias": (False,), "mlp_bias": (False,)}
QWEN2: Final[dict[str, tuple[object, ...]]] = {
    "use_sliding_window": (False,),
    "use_mrope": (False,),
}


def llama(found: Mapping[str, Any], name: str, context: int | None) -> Model:
    """A `llama` config.json; context: see DecoderConfig. Raises BadInput, Unsupported by key."""
    return _model(_config(found, context, LLAMA, trained=2048, qkv_bias=False), name)


def qwen2(found: Mapping[str, Any], name: str, context: int | None) -> Model:
    """A `qwen2` config.json; context: see DecoderConfig. Raises BadInput, Unsupported by key."""
    return _model(_config(found, context, QWEN2, trained=32_768, qkv_bias=True), name)


def _model(config: DecoderConfig, name: str) -> Model:
    return Model(build(config, name), partial(expected, config))


def _config(
    found: Mapping[str, Any],
    context: int | None,
    meanings: Mapping[str, tuple[object, ...]],
    *,
    trained: int,
    qkv_bias: bool,
) -> DecoderConfig:
    """Absent keys have the values of the published code; trained: its context."""
    layers, heads = size(found, "num_hidden_layers"), size(found, "num_attention_heads")
    hidden = size(found, "hidden_size")
    full: tuple[object, ...] = (None, ["full_attention"] * layers)
    check_meanings(found, {**MEANINGS, **meanings, "layer_types": full})
    rope = _rope(found)
    own = found.get("head_dim") is not None  # else the heads share the hidden size
    return DecoderConfig(
        vocab_size=size(found, "vocab_size"),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=size(found, "num_key_value_heads", heads),
        head_dim=size(found, "head_dim") if own else equal_heads(hidden, heads),
        intermediate_size=size(found, "intermediate_size"),
        context=context_length(context, size(found, "max_position_embeddings", trained)),
        rope_theta=positive({"rope_theta": 10_000.0, **found, **rope}, "rope_theta"),
        norm_eps=positive(found, "rms_norm_eps", 1e-6),
        rope_scaling=_scaling(rope),
        qkv_bias=qkv_bias,
        tied=_flag(found, "tie_word_embeddings"),
    )


def context_length(chosen: int | None, longest: int) -> int:
    """Tokens that full attention is compiled for; BadInput beyond the model's `longest`."""
    if chosen is None:
        return min(CONTEXT, longest)
    if not 1 <= chosen <= longest:
        raise BadInput(
            f"a context of {chosen} tokens; the model's is {longest}",
            where="config",
            fix=f"a number from 1 to {longest}",
        )
    return chosen


def _rope(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """`rope_scaling`, or `rope_parameters` as newer configs call it and rope_theta together."""
    for key in ("rope_parameters", "rope_scaling"):
        rope = found.get(key)
        if rope is not None:
            if not isinstance(rope, dict):
                raise BadInput(f"{key} is {shown(rope)}, not an object", where="config")
            check_meanings(rope, {"partial_rotary_factor": (1.0, None)})
            return rope
    return {}


def _scaling(rope: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise Unsupported(
            f"RoPE scaling of type {shown(kind)}",
            where="config",
            fix="supported: 'default' and 'llama3'",
        )
    return (
        positive(rope, "factor"),
        positive(rope, "low_freq_factor"),
        positive(rope, "high_freq_factor"),
        positive(rope, "original_max_position_embeddings"),
    )


def _flag(found: Mapping[str, Any], key: str) -> bool:
    value = found.get(key, False)
    if not isinstance(value, bool):
        raise BadInput(f"{key} is {shown(value)}, neither true nor false", where="config")
    return value


def tensor_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the graph with its shape."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    wide = config.num_attention_heads * config.head_dim
    kv = config.num_key_value_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        shapes[at + "input_layernorm.weight"] = (hidden,)
        for name, rows in (("q", wide), ("k", kv), ("v", kv)):
            shapes[at + f"self_attn.{name}_proj.weight"] = (rows, hidden)
            if config.qkv_bias:
                shapes[at + f"self_attn.{name}_proj.bias"] = (rows,)
        shapes[at + "self_attn.o_proj.weight"] = (hidden, wide)
        shapes[at + "post_attention_layernorm.weight"] = (hidden,)
        shapes[at + "mlp.gate_proj.weight"] = (ffn, hidden)
        shapes[at + "mlp.up_proj.weight"] = (ffn, hidden)
        shapes[at + "mlp.down_proj.weight"] = (hidden, ffn)
    shapes[FINAL_NORM] = (hidden,)
    if not config.tied:
        shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def expected(config: DecoderConfig, forms: Mapping[str, Form]) -> Expected:
    """The graph's tensors; a tied head may be stored once more."""
    shapes = tensor_shapes(config)
    rotary = frozenset(name for name in forms if name.endswith(ROTARY))
    if not (config.tied and HEAD in forms):
        return Expected(shapes, ignored=rotary)
    shapes[HEAD] = shapes[EMBEDDING]
    return Expected(shapes, equal=((EMBEDDING, HEAD),), ignored=rotary)


def build(config: DecoderConfig, model: str) -> Graph:
    """The operations of one token, in order; profile `paper`: every block linear is spiking."""
    made = Assembly(config.hidden_size, config.norm_eps)
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    rope = (config.rope_theta, config.rope_scaling)
    for i in range(config.num_hidden_layers):
        at, src = f"layers.{i}.", f"model.layers.{i}."
        made.norm(at + "attn_norm", at + "attn_in", src + "input_layernorm.weight")
        window = Window(at + "window", at + "qkv", at + "o_in", *heads, config.context, *rope)
        parts = by_head(src + "self_attn.", *heads, ("k", "v"), bias=config.qkv_bias)
        made.attention(at, window, parts, src + "self_attn.o_proj.weight")
        made.norm(at + "mlp_norm", at + "mlp_in", src + "post_attention_layernorm.weight")
        made.mlp(at, src + "mlp.", config.intermediate_size)
    head = EMBEDDING if config.tied else HEAD
    return made.finish(model, EMBEDDING, FINAL_NORM, head, config.vocab_size, config.context)

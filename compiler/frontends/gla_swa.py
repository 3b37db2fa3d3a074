"""Graph of a gla_swa model: SpikingBrain-7B's operations (facts: arXiv 2509.05276, section 2)."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from compiler.frontends.assembly import Assembly, by_head
from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.keys import check_meanings, positive, size
from compiler.frontends.model import Expected, Form, Make, Model, Stored
from compiler.graph import Gla, Graph, Part, Window

EMBEDDING = "model.embeddings.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"

MEANINGS: dict[str, tuple[object, ...]] = {
    "tie_word_embeddings": (False,),
    "use_short_conv": (False,),
    "hidden_act": ("swish", "silu"),
    "elementwise_affine": (True,),
    "rope_scaling": (None,),
}


def gla_swa(found: Mapping[str, Any], name: str, context: int | None) -> Model:
    """The model of a config.json; its memory is bounded, so `context` changes nothing.

    Raises BadInput and Unsupported by key.
    """
    config = gla_swa_config(found)
    return Model(build(config, name), partial(expected, config))


def gla_swa_config(found: Mapping[str, Any]) -> GlaSwaConfig:
    """The config's numbers; keys that do not change what is computed are ignored.

    Raises BadInput by key for a missing or impossible value, Unsupported for another meaning.
    """
    config = GlaSwaConfig(
        vocab_size=size(found, "vocab_size"),
        hidden_size=size(found, "hidden_size"),
        num_hidden_layers=size(found, "num_hidden_layers"),
        num_attention_heads=size(found, "num_attention_heads"),
        num_key_value_heads=size(found, "num_key_value_heads"),
        intermediate_size=size(found, "intermediate_size"),
        sliding_window=size(found, "sliding_window"),
        rope_theta=positive(found, "rope_theta", 1e6),
        norm_eps=positive(found, "norm_eps", 1e-6),
        gate_logit_normalizer=size({"gate_logit_normalizer": 16, **found}, "gate_logit_normalizer"),
    )
    odd = list(range(1, config.num_hidden_layers, 2))
    own: dict[str, tuple[object, ...]] = {
        "attn_layers": (odd,),
        "head_dim": (None, config.head_dim),
    }
    check_meanings(found, MEANINGS | own)
    return config


def tensor_shapes(config: GlaSwaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the graph with its shape; a checkpoint may hold the gate as two factors."""
    hidden, kv, ffn = config.hidden_size, config.kv_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        shapes[at + "attn_norm.weight"] = (hidden,)
        shapes[at + "mlp_norm.weight"] = (hidden,)
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            shapes[at + f"attn.{name}_proj.weight"] = (rows, hidden)
            shapes[at + f"attn.{name}_proj.bias"] = (rows,)
        if not config.is_window(i):
            shapes[at + "attn.gk_proj.weight"] = (kv, hidden)
            shapes[at + "attn.gk_proj.bias"] = (kv,)
            shapes[at + "attn.g_norm.weight"] = (config.head_dim,)
        shapes[at + "attn.o_proj.weight"] = (hidden, hidden)
        shapes[at + "mlp.gate_proj.weight"] = (ffn, hidden)
        shapes[at + "mlp.up_proj.weight"] = (ffn, hidden)
        shapes[at + "mlp.down_proj.weight"] = (hidden, ffn)
    shapes[FINAL_NORM] = (hidden,)
    shapes[HEAD] = (config.vocab_size, hidden)
    return shapes


def expected(config: GlaSwaConfig, forms: Mapping[str, Form]) -> Expected:
    """The graph's tensors, or the low-rank gate of the published code where it is stored."""
    shapes: dict[str, tuple[int, ...]] = {}
    made: dict[str, Make] = {}
    for name, shape in tensor_shapes(config).items():
        gate, is_gate, kind = name.rpartition("gk_proj.")
        down, up, bias = (f"{gate}gk_proj.{n}" for n in ("0.weight", "1.weight", "1.bias"))
        if not is_gate or down not in forms:
            shapes[name] = shape
        elif kind == "weight":
            rank = _rank(forms[down].shape, config)
            shapes |= {down: (rank, shape[1]), up: (shape[0], rank)}
            made[name] = partial(_product, up, down)
        else:
            shapes[bias] = shape
            made[name] = partial(_same, bias)
    return Expected(shapes, made)


def _rank(down: tuple[int, ...], config: GlaSwaConfig) -> int:
    return max(1, min(down[0], config.hidden_size)) if down else 1


def _same(name: str, stored: Stored) -> Tensor:
    return stored[name]


def _product(up: str, down: str, stored: Stored) -> Tensor:
    """up @ down, summed in float64 in one fixed order: the same bits on every machine."""
    left, right = stored[up].double(), stored[down].double()
    total = torch.zeros(left.shape[0], right.shape[1], dtype=torch.float64)
    for column, row in zip(left.T, right, strict=True):
        total += column[:, None] * row
    return total.float()


def attention_parts(config: GlaSwaConfig, layer: int) -> Iterator[Part]:
    """Rows of q, k, v (and gate) per key/value head."""
    shared = ("k", "v") if config.is_window(layer) else ("k", "v", "gk")
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    return by_head(f"model.layers.{layer}.attn.", *heads, shared, bias=True)


def build(config: GlaSwaConfig, model: str) -> Graph:
    """The operations of one token, in order; profile `paper`: every block linear is spiking."""
    made = Assembly(config.hidden_size, config.norm_eps)
    for i in range(config.num_hidden_layers):
        at, src = f"layers.{i}.", f"model.layers.{i}."
        made.norm(at + "attn_norm", at + "attn_in", src + "attn_norm.weight")
        parts = attention_parts(config, i)
        made.attention(at, _attention(config, i), parts, src + "attn.o_proj.weight")
        made.norm(at + "mlp_norm", at + "mlp_in", src + "mlp_norm.weight")
        made.mlp(at, src + "mlp.", config.intermediate_size)
    return made.finish(model, EMBEDDING, FINAL_NORM, HEAD, config.vocab_size)


def _attention(config: GlaSwaConfig, layer: int) -> Gla | Window:
    at = f"layers.{layer}."
    heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
    if config.is_window(layer):
        window = (config.sliding_window, config.rope_theta)
        return Window(at + "window", at + "qkv", at + "o_in", *heads, *window)
    norm = f"model.layers.{layer}.attn.g_norm.weight"
    gate = (config.gate_logit_normalizer, norm, config.norm_eps)
    return Gla(at + "gla", at + "qkvg", at + "o_in", *heads, *gate)

"""Graph of a gla_swa model: SpikingBrain-7B's operations (facts: arXiv 2509.05276, section 2)."""

from collections.abc import Iterator

from compiler.frontends.config import GlaSwaConfig
from compiler.graph import (
    Gla,
    Graph,
    Linear,
    Logits,
    Part,
    Residual,
    Site,
    Stage,
    Swiglu,
    Window,
    verify,
)

EMBEDDING = "model.embeddings.weight"
FINAL_NORM = "model.norm.weight"
HEAD = "lm_head.weight"


def tensor_shapes(config: GlaSwaConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor a checkpoint must hold, no more and no fewer, with its shape."""
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


def attention_parts(config: GlaSwaConfig, layer: int) -> Iterator[Part]:
    """Rows of q, k, v (and gate) per key/value head, so that a head's neurons are neighbours."""
    d, at = config.head_dim, f"model.layers.{layer}.attn."
    group = d * (config.num_attention_heads // config.num_key_value_heads)
    shared = ("k", "v") if config.is_window(layer) else ("k", "v", "gk")
    for head in range(config.num_key_value_heads):
        q = (head * group, (head + 1) * group)
        yield Part(at + "q_proj.weight", at + "q_proj.bias", q)
        for name in shared:
            rows = (head * d, (head + 1) * d)
            yield Part(at + f"{name}_proj.weight", at + f"{name}_proj.bias", rows)


def build(config: GlaSwaConfig, model: str) -> Graph:
    """The operations of one token, in order; profile `paper`: every block linear is spiking."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    stages: list[Stage] = []
    sites: list[Site] = []
    linears: list[Linear] = []
    stream: str | None = None  # the linear whose output joins the residual stream next

    def residual(name: str, site: str, weight: str) -> None:
        stages.append(Residual(name, stream, site, hidden, weight, config.norm_eps))
        # the dense head keeps 16-bit activations (DESIGN 3.3)
        sites.append(Site(site, hidden, "absmax16" if site == "head_in" else "mean-abs"))

    for i in range(config.num_hidden_layers):
        at, src = f"layers.{i}.", f"model.layers.{i}."
        residual(at + "attn_norm", at + "attn_in", src + "attn_norm.weight")
        parts = tuple(attention_parts(config, i))
        wide = sum(p.rows[1] - p.rows[0] for p in parts)
        heads = (config.num_attention_heads, config.num_key_value_heads, config.head_dim)
        mixed = at + ("qkv" if config.is_window(i) else "qkvg")
        linears.append(Linear(mixed, at + "attn_in", hidden, wide, parts))
        if config.is_window(i):
            window = (config.sliding_window, config.rope_theta)
            stages.append(Window(at + "window", mixed, at + "o_in", *heads, *window))
        else:
            norm = (config.gate_logit_normalizer, src + "attn.g_norm.weight", config.norm_eps)
            stages.append(Gla(at + "gla", mixed, at + "o_in", *heads, *norm))
        sites.append(Site(at + "o_in", hidden, "mean-abs"))
        stream = at + "o"
        o = Part(src + "attn.o_proj.weight", None, (0, hidden))
        linears.append(Linear(stream, at + "o_in", hidden, hidden, (o,)))
        residual(at + "mlp_norm", at + "mlp_in", src + "mlp_norm.weight")
        gate, up = (Part(src + f"mlp.{n}_proj.weight", None, (0, ffn)) for n in ("gate", "up"))
        gated = at + "gate_up"
        linears.append(Linear(gated, at + "mlp_in", hidden, 2 * ffn, (gate, up), align=2))
        stages.append(Swiglu(at + "swiglu", gated, at + "down_in", ffn))
        sites.append(Site(at + "down_in", ffn, "mean-abs"))
        stream = at + "down"
        down = Part(src + "mlp.down_proj.weight", None, (0, hidden))
        linears.append(Linear(stream, at + "down_in", ffn, hidden, (down,)))
    residual("final_norm", "head_in", FINAL_NORM)
    head = Part(HEAD, None, (0, config.vocab_size))
    linears.append(Linear("head", "head_in", hidden, config.vocab_size, (head,)))
    stages.append(Logits("logits", "head", config.vocab_size))
    vocab = config.vocab_size
    graph = Graph(model, "paper", EMBEDDING, vocab, tuple(stages), tuple(sites), tuple(linears))
    verify(graph)
    return graph

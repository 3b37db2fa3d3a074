"""Small random mixtures of experts, their tensors written down apart from the front end."""

import re
from functools import cache

import torch

from compiler.frontends.spikingbrain_moe import spikingbrain_moe
from compiler.pipeline import compile_graph
from compiler.program import Program
from compiler.weights import quantize
from hw_models.chip import load_chip
from kernels.canonical import TokenTrace, execute

# layers: full attention and dense, window and experts, window and experts; 140 inputs: two groups
CONFIG = {
    "model_type": "spikingbrain_moe",
    "vocab_size": 23,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "full_attention_layers": [0],
    "sliding_window": 3,
    "num_sink_tokens": 2,
    "mlp_only_layers": [0],
    "num_experts": 4,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 36,
    "shared_expert_intermediate_size": 140,
    "max_position_embeddings": 64,
    "rope_theta": 100.0,
}
TWO_OF_FIVE = CONFIG | {
    "num_experts": 5,
    "num_experts_per_tok": 2,
    "scoring_func": "sigmoid",
    "branch_weights": [0.75, 0.25],
    "full_attention_layers": [2],
    "rms_norm_eps": 1e-5,
}
# experts of three groups of inputs: on cores of 128 axons their sums come from several tiles
WIDE = CONFIG | {
    "num_hidden_layers": 2,
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 300,
}
CONFIGS = {"one of four": CONFIG, "two of five": TWO_OF_FIVE, "wide": WIDE}
# linears of several tiles, sites of several blocks, several chips
SMALL_CORES = {"core.synapse_memory": "1 KiB", "core.state_memory": "3 KiB"}
NARROW_CORES = SMALL_CORES | {
    "core.synapse_memory": "2 KiB", "core.in_axons": "128", "layout.usable_cores": "4",
}  # fmt: skip
TEXT = (3, 17, 17, 22, 0, 8, 21, 5, 9, 11)


def shapes_of(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors."""
    hidden, d = config["hidden_size"], config["hidden_size"] // config["num_attention_heads"]
    kv = config["num_key_value_heads"]
    found = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    found |= {"model.norm.weight": (hidden,), "lm_head.weight": (config["vocab_size"], hidden)}
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        found[at + "input_layernorm.weight"] = found[at + "post_attention_layernorm.weight"] = (
            hidden,
        )
        for name, rows in (("q", hidden), ("k", kv * d), ("v", kv * d)):
            found[at + f"self_attn.{name}_proj.weight"] = (rows, hidden)
            found[at + f"self_attn.{name}_proj.bias"] = (rows,)
        found[at + "self_attn.o_proj.weight"] = (hidden, hidden)
        found[at + "self_attn.linear_norm.weight"] = (d,)
        found[at + "self_attn.softmax_norm.weight"] = (d,)
        found[at + "self_attn.sink_key"] = (config["num_sink_tokens"], kv, d)
        found[at + "self_attn.sink_value"] = (config["num_sink_tokens"], kv, d)
        blocks = {"": config["intermediate_size"]}
        if i not in config["mlp_only_layers"]:
            found[at + "mlp.gate.weight"] = (config["num_experts"], hidden)
            blocks = {"shared_expert.": config["shared_expert_intermediate_size"]}
            for e in range(config["num_experts"]):
                blocks[f"experts.{e}."] = config["moe_intermediate_size"]
        for block, n in blocks.items():
            found[at + f"mlp.{block}gate_proj.weight"] = (n, hidden)
            found[at + f"mlp.{block}up_proj.weight"] = (n, hidden)
            found[at + f"mlp.{block}down_proj.weight"] = (hidden, n)
    return found


def random_tensors(config: dict, seed: int = 0) -> dict[str, torch.Tensor]:
    """Queries, keys and routers so large that attention and choice depend on the token."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes_of(config).items():
        x = torch.randn(shape, generator=rng)
        if name.endswith("norm.weight"):
            x = 1 + 0.3 * x
        elif len(shape) == 2:
            x *= (2.5 if re.search(r"[qk]_proj|mlp\.gate\.", name) else 1) * shape[1] ** -0.5
        tensors[name] = x
    return tensors


def mixture(two_of_five: bool = False):
    """Graph, float tensors and quantised numbers of CONFIG or TWO_OF_FIVE."""
    return model("two of five" if two_of_five else "one of four")


@cache
def model(name: str, seed: int = 0):
    """Graph, float tensors and quantised numbers of one of CONFIGS."""
    config = CONFIGS[name]
    graph, tensors = spikingbrain_moe(config, "mixture", 8).graph, random_tensors(config, seed)
    return graph, tensors, quantize(graph, tensors)


@cache
def reference(name: str, seed: int = 0) -> list[TokenTrace]:
    """What the canonical executor says about TEXT."""
    graph, _, numbers = model(name, seed)
    return list(execute(graph, numbers, TEXT))


@cache
def program(name: str = "one of four", target: str = "toy", seed: int = 0) -> Program:
    """One of CONFIGS compiled; on toy for SMALL_CORES, or NARROW_CORES if it is wide."""
    graph, tensors, _ = model(name, seed)
    cores = NARROW_CORES if name == "wide" else SMALL_CORES
    return compile_graph(graph, tensors, load_chip(target, cores if target == "toy" else {}))

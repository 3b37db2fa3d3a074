"""Llama and Qwen2: the published names and arithmetic."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compiler.audit.graph import verify
from compiler.frontends.config import DecoderConfig
from compiler.frontends.decoder import llama, qwen2, tensor_shapes
from compiler.frontends.read import read_model
from compiler.graph import Window
from compiler.pipeline import compile_graph, compile_model
from compiler.program import Program
from compiler.weights import fuse, quantize
from hw_models.chip import load_chip
from hw_models.errors import BadInput
from kernels.canonical import execute
from kernels.stage import STAGES
from tests.small import assert_equal, decoded, prefilled

torch.set_num_threads(1)

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 16
COMMON = {"vocab_size": 23, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON |= {"num_key_value_heads": 2, "intermediate_size": 40, "rope_theta": 100.0}
QWEN2 = COMMON | {"model_type": "qwen2", "hidden_act": "silu", "use_sliding_window": False}
CONFIGS = {
    "qwen2": QWEN2,
    "qwen2-tied": QWEN2 | {"tie_word_embeddings": True, "rms_norm_eps": 1e-5},
    "llama": COMMON | {"model_type": "llama", "rope_scaling": None},
    "llama-3.1": COMMON | {"model_type": "llama", "rope_scaling": LLAMA3, "head_dim": 8},
    "llama-mha": {**COMMON, "model_type": "llama", "num_key_value_heads": None},
}
TEXT = (3, 17, 17, 22, 0, 8, 21, 5, 9, 11)


def shapes_of(config):
    """Names and shapes as the published checkpoints have them, written down once more."""
    heads, hidden, ffn = config["num_attention_heads"], config["hidden_size"], 40
    d = config.get("head_dim") or hidden // heads
    kv = (config["num_key_value_heads"] or heads) * d
    found = {"model.embed_tokens.weight": (23, hidden), "model.norm.weight": (hidden,)}
    for i in range(2):
        at = f"model.layers.{i}."
        found[at + "input_layernorm.weight"] = (hidden,)
        found[at + "post_attention_layernorm.weight"] = (hidden,)
        for name, rows in (("q", heads * d), ("k", kv), ("v", kv)):
            found[at + f"self_attn.{name}_proj.weight"] = (rows, hidden)
            if config["model_type"] == "qwen2":
                found[at + f"self_attn.{name}_proj.bias"] = (rows,)
        found[at + "self_attn.o_proj.weight"] = (hidden, heads * d)
        found[at + "mlp.gate_proj.weight"] = found[at + "mlp.up_proj.weight"] = (ffn, hidden)
        found[at + "mlp.down_proj.weight"] = (hidden, ffn)
    if not config.get("tie_word_embeddings"):
        found["lm_head.weight"] = (23, hidden)
    return found


def random_tensors(config, seed=0):
    """Queries and keys large enough that attention looks at few tokens, so that RoPE matters."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes_of(config).items():
        x = torch.randn(shape, generator=rng)
        if name.endswith("norm.weight"):
            x = 1 + 0.3 * x
        elif len(shape) == 2:
            x *= (2.5 if re.search("[qk]_proj", name) else 1) * shape[1] ** -0.5
        tensors[name] = x
    return tensors


@pytest.fixture
def folder(tmp_path):
    """Write config.json and model.safetensors; returns their folder."""

    def save(config, tensors):
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file({n: t.contiguous() for n, t in tensors.items()}, tmp_path / "model.safetensors")
        return tmp_path

    return save


# ---- an independent implementation, from the published formulas


def reference_logits(config, w, tokens, context=10**9):
    """Whole sequences at once, plain float64 but for the int8 keys and values (DESIGN 3.4)."""
    w = {n: t.double() for n, t in w.items()}
    heads = config["num_attention_heads"]
    kv = config["num_key_value_heads"] or heads
    d = config.get("head_dim") or config["hidden_size"] // heads
    n, eps = len(tokens), config.get("rms_norm_eps", 1e-6)

    def norm(x, weight):
        return x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt() * weight

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    def turn(i):
        """Radians per token of pair i, with Llama 3.1's three cases spelt out."""
        f = config["rope_theta"] ** (-2 * i / d)
        s = config.get("rope_scaling")
        if s is None:
            return f
        length = 2 * math.pi / f
        ratio = s["original_max_position_embeddings"] / length
        if ratio < s["low_freq_factor"]:
            return f / s["factor"]
        if ratio > s["high_freq_factor"]:
            return f
        smooth = (ratio - s["low_freq_factor"]) / (s["high_freq_factor"] - s["low_freq_factor"])
        return (1 - smooth) * f / s["factor"] + smooth * f

    def rope(x):  # [n, heads, d] as complex pairs (i, i + d / 2)
        angle = torch.outer(
            torch.arange(n).double(), torch.tensor([turn(i) for i in range(d // 2)])
        )
        z = (
            torch.complex(*x.split(d // 2, -1))
            * torch.polar(torch.ones_like(angle), angle)[:, None]
        )
        return torch.cat([z.real, z.imag], -1)

    def eight_bits(x):
        step = x.abs().amax(-1, keepdim=True) / 127
        return (x / step).round() * step

    row, col = torch.arange(n)[:, None], torch.arange(n)
    seen = (col <= row) & (col > row - context)
    x = w["model.embed_tokens.weight"][list(tokens)]
    for i in range(2):
        at = f"model.layers.{i}."
        a = norm(x, w[at + "input_layernorm.weight"])
        q, k, v = (linear(a, at + f"self_attn.{p}_proj").reshape(n, -1, d) for p in "qkv")
        k, v = eight_bits(rope(k)), eight_bits(v)
        k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
        score = torch.einsum("qhd,khd->hqk", rope(q), k) / math.sqrt(d)
        p = score.masked_fill(~seen, -math.inf).softmax(-1)
        o = torch.einsum("hqk,khd->qhd", p, v).reshape(n, -1)
        x = x + linear(o, at + "self_attn.o_proj")
        m = norm(x, w[at + "post_attention_layernorm.weight"])
        gate, up = (linear(m, at + f"mlp.{p}_proj") for p in ("gate", "up"))
        x = x + linear(gate / (1 + (-gate).exp()) * up, at + "mlp.down_proj")
    head = "model.embed_tokens" if config.get("tie_word_embeddings") else "lm_head"
    return norm(x, w["model.norm.weight"]) @ w[head + ".weight"].T


def graph_logits(graph, tensors, tokens):
    """The graph's own stages over unquantised linears, one token at a time."""
    memory, found = {}, []
    vectors = {s.weight: tensors[s.weight] for s in graph.stages if hasattr(s, "weight")}
    for position, token in enumerate(tokens):
        at_site = {}
        for stage in graph.stages:
            if stage.linear is None:
                y = tensors[graph.embedding][token]
            else:
                linear = graph.linear(stage.linear)
                weight, bias = fuse(linear, tensors)
                y = weight @ at_site[linear.site] + bias
            x = STAGES[stage.kind](stage, vectors, memory, y, position)
            at_site[getattr(stage, "site", "logits")] = x
        found.append(x)
    return torch.stack(found).double()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_graph_computes_the_published_model(name, folder):
    config = CONFIGS[name]
    written = random_tensors(config)
    graph, tensors = read_model(folder(config, written))
    verify(graph)
    wanted = reference_logits(config, written, TEXT)
    found = graph_logits(graph, tensors, TEXT)
    # a float rounded to the other int8 code may differ by 1/127 of one key
    assert (found - wanted).abs().max() < 2e-3 * wanted.abs().max()
    assert (found - wanted).abs().median() < 1e-5 * wanted.abs().max()


def test_beyond_the_context_a_token_sees_the_last_ones_of_it(folder):
    config, written = CONFIGS["llama"], random_tensors(CONFIGS["llama"])
    graph, tensors = read_model(folder(config, written), context=3)
    found = graph_logits(graph, tensors, TEXT)
    wanted = reference_logits(config, written, TEXT, context=3)
    assert (found - wanted).abs().max() < 2e-3 * wanted.abs().max()
    full = reference_logits(config, written, TEXT)
    assert (full - wanted)[3:].abs().max() > 0.05 * wanted.abs().max()


@pytest.mark.parametrize("name", ["qwen2", "llama-3.1"])
def test_finely_coded_spikes_come_near_the_float_model(name, folder):
    config, written = CONFIGS[name], random_tensors(CONFIGS[name])
    graph, tensors = read_model(folder(config, written))
    wanted = reference_logits(config, written, TEXT).numpy()
    found = np.stack([t.logits for t in execute(graph, quantize(graph, tensors), TEXT, k=4096.0)])
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() >= 0.8


@pytest.mark.parametrize("name", ["qwen2-tied", "llama-3.1"])
def test_simulated_equals_canonical(name, folder, tmp_path):
    graph, tensors = read_model(folder(CONFIGS[name], random_tensors(CONFIGS[name])), context=6)
    program = compile_graph(graph, tensors, load_chip("toy"))
    program.write(tmp_path / "model.sbx")
    again = Program.read(tmp_path / "model.sbx")
    assert again.graph == graph
    wanted = list(execute(graph, quantize(graph, tensors), TEXT))
    assert_equal(prefilled(again, TEXT), wanted)
    assert_equal(decoded(again, TEXT), wanted)


# ---- tensors


@pytest.mark.parametrize("name", CONFIGS)
def test_the_tensors_are_exactly_the_published_ones(name, folder):
    config = CONFIGS[name]
    written = random_tensors(config)
    _, tensors = read_model(folder(config, written))
    assert tensors.keys() == written.keys()
    assert all(torch.equal(tensors[n], t) for n, t in written.items())
    for missing in written:
        rest = {n: t for n, t in written.items() if n != missing}
        with pytest.raises(BadInput, match=re.escape(f"{missing} is missing")):
            read_model(folder(config, rest))


def test_a_llama_has_no_biases_and_an_untied_head_is_its_own(folder):
    config = CONFIGS["llama"]
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.zeros(24)}
    with pytest.raises(BadInput, match="has no place"):
        read_model(folder(config, random_tensors(config) | extra))


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(folder):
    config = CONFIGS["qwen2-tied"]
    written = random_tensors(config)
    head = written["model.embed_tokens.weight"].clone()
    _, tensors = read_model(folder(config, written | {"lm_head.weight": head}))
    assert tensors.keys() == written.keys()
    head[3, 5] += 1
    with pytest.raises(BadInput, match="tie_word_embeddings"):
        read_model(folder(config, written | {"lm_head.weight": head}))


def test_the_rotary_buffers_of_old_checkpoints_mean_nothing(folder):
    config = CONFIGS["llama"]
    old = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(3) for i in range(2)}
    _, tensors = read_model(folder(config, random_tensors(config) | old))
    assert tensors.keys() == shapes_of(config).keys()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_floats_are_taken_as_they_are(folder, dtype):
    config = CONFIGS["qwen2"]
    written = {n: t.to(dtype) for n, t in random_tensors(config).items()}
    _, tensors = read_model(folder(config, written))
    assert all(tensors[n].dtype == dtype and torch.equal(tensors[n], t) for n, t in written.items())


# ---- the whole model


def test_every_row_of_every_tensor_is_used_exactly_once():
    for config in CONFIGS.values():
        read = {"llama": llama, "qwen2": qwen2}[config["model_type"]]
        model = read(config, "m", None)
        rows = {}
        for linear in model.graph.linears:
            for part in linear.parts:
                for name in filter(None, (part.weight, part.bias)):
                    pairs = zip(part.rows[::2], part.rows[1::2], strict=True)
                    rows.setdefault(name, []).extend(r for a, b in pairs for r in range(a, b))
        shapes = shapes_of(config)
        assert all(sorted(taken) == list(range(shapes[n][0])) for n, taken in rows.items())
        vectors = {s.weight for s in model.graph.stages if hasattr(s, "weight")}
        assert {*rows, *vectors, model.graph.embedding} == set(shapes)
        assert model.expected({}).shapes == shapes


def test_the_published_sizes_of_llama():
    shapes = tensor_shapes(DecoderConfig(128_256, 4096, 32, 32, 8, 128, 14_336, 4096, 5e5, 1e-5))
    assert sum(math.prod(s) for s in shapes.values()) == 8_030_261_248


def test_the_pipeline_compiles_for_a_chosen_context(folder):
    path = folder(QWEN2, random_tensors(QWEN2))
    program = compile_model(path, "toy", context=5)
    assert [s.window for s in program.graph.stages if isinstance(s, Window)] == [5, 5]

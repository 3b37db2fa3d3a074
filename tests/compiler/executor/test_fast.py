"""The fast executor against a float64 model written out, and against the canonical executor."""

import math

import numpy as np
import pytest
import torch

from compiler.executor.fast import bits_per_byte, forward
from compiler.frontends.config import GlaSwaConfig, SpikingBrainMoeConfig
from compiler.frontends.gla_swa import build, tensor_shapes
from compiler.weights import quantize
from hw_models.errors import Unsupported
from kernels.canonical import execute
from kernels.linear import dequantize, quantize_w8

torch.set_num_threads(1)
TINY = GlaSwaConfig(
    vocab_size=23,
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=72,
    sliding_window=5,
)
LENGTH = 14


def random_weights(config, seed=0):
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in tensor_shapes(config).items():
        spread = 1.0 if len(shape) == 1 or "embed" in name else shape[-1] ** -0.5
        found[name] = torch.randn(shape, generator=rng) * spread
    return found


def random_tokens(batch=2, length=LENGTH, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(TINY.vocab_size, (batch, length), generator=rng)


@pytest.fixture(scope="module")
def weights():
    return random_weights(TINY)


def as_int8(x):
    """A stored key or value: 127 steps up to the vector's largest."""
    step = np.abs(x).max() / 127
    return np.rint(x / step) * step


def rotated(x, position, theta):
    half = x.size // 2
    angle = position * theta ** (-np.arange(half) / half)
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag])


def softmax(x):
    p = np.exp(x - x.max())
    return p / p.sum()


class Plain:
    """The model of SpikingBrain's paper in float64, token by token, head by head."""

    def __init__(self, config, weights):
        self.c = config
        self.w = {n: w.double().numpy() for n, w in weights.items()}

    def norm(self, name, x):
        return x / np.sqrt(np.mean(x**2) + self.c.norm_eps) * self.w[name + ".weight"]

    def linear(self, name, x):
        return self.w[name + ".weight"] @ x + self.w.get(name + ".bias", 0)

    def logits(self, tokens):
        c = self.c
        self.kept = [[[] for _ in range(c.num_attention_heads)] for _ in range(c.num_hidden_layers)]
        return np.array([self.token(t, int(token)) for t, token in enumerate(tokens)])

    def token(self, t, token):
        x = self.w["model.embeddings.weight"][token]
        for i in range(self.c.num_hidden_layers):
            at = f"model.layers.{i}."
            a = self.norm(at + "attn_norm", x)
            heads = range(self.c.num_attention_heads)
            mixed = np.concatenate([self.head(i, h, t, at + "attn.", a) for h in heads])
            x = x + self.linear(at + "attn.o_proj", mixed)
            m = self.norm(at + "mlp_norm", x)
            gate = self.linear(at + "mlp.gate_proj", m)
            up = self.linear(at + "mlp.up_proj", m)
            x = x + self.linear(at + "mlp.down_proj", gate / (1 + np.exp(-gate)) * up)
        return self.linear("lm_head", self.norm("model.norm", x))

    def head(self, layer, h, t, at, a):
        c, d = self.c, self.c.head_dim
        kv = h // (c.num_attention_heads // c.num_key_value_heads)
        q = self.linear(at + "q_proj", a)[h * d :][:d]
        k, v = (self.linear(at + n, a)[kv * d :][:d] for n in ("k_proj", "v_proj"))
        kept = self.kept[layer][h]
        if c.is_window(layer):
            q, k = rotated(q, t, c.rope_theta), rotated(k, t, c.rope_theta)
            kept.append((as_int8(k), as_int8(v)))
            keys, values = map(np.array, zip(*kept[-c.sliding_window :], strict=True))
            return softmax(keys @ q / math.sqrt(d)) @ values
        gate = self.linear(at + "gk_proj", a)[kv * d :][:d]
        decay = (1 / (1 + np.exp(-gate))) ** (1 / c.gate_logit_normalizer)
        state = kept.pop() if kept else np.zeros((d, d))
        state = decay[:, None] * state + np.outer(np.maximum(k, 0), v)
        kept.append(state)
        return self.norm(at + "g_norm", np.maximum(q, 0) / math.sqrt(d) @ state)


def test_logits_are_those_of_the_model_written_out(weights):
    tokens = random_tokens()
    found = forward(TINY, weights, tokens)
    assert found.dtype == torch.float32
    for b in range(2):
        expected = Plain(TINY, weights).logits(tokens[b])
        np.testing.assert_allclose(found[b].numpy(), expected, atol=3e-4, rtol=1e-3)


def test_w8_is_the_float_model_with_rounded_matrices(weights):
    tokens = random_tokens()
    matrices = {n: w for n, w in weights.items() if w.ndim == 2 and "embed" not in n}
    assert len(matrices) == 4 * 7 + 2 + 1
    rounded = weights | {n: dequantize(quantize_w8(w)) for n, w in matrices.items()}
    found = forward(TINY, weights, tokens, "w8")
    torch.testing.assert_close(found, forward(TINY, rounded, tokens), atol=1e-5, rtol=1e-5)
    assert (found - forward(TINY, weights, tokens)).abs().max() > 1e-4


def losses(logits, tokens):
    """Mean negative log likelihood of the next token."""
    p = np.array([softmax(row) for row in logits[:-1].astype(np.float64)])
    return -np.log(p[np.arange(len(p)), tokens[1:]]).mean()


def test_spikes_agree_with_the_canonical_executor(weights):
    tokens = random_tokens(1, 40)[0]
    graph = build(TINY, "tiny")
    traces = list(execute(graph, quantize(graph, weights), tokens.tolist()))
    sites = {}
    logits = forward(TINY, weights, tokens[None], "spike", record=sites.__setitem__)[0].numpy()
    assert list(sites) == [site.name for site in graph.sites]
    first = next(iter(sites))
    x = sites[first][0]
    v_th = x.double().abs().mean(-1) / 3
    counts = np.array([t.counts[first] for t in traces])
    # the first site's inputs are the same, so at most a count next to a border differs
    differing = counts != (x.double() / v_th[:, None]).round().numpy()
    assert differing.mean() <= 1e-3
    canonical = np.array([t.logits for t in traces])
    assert losses(logits, tokens) == pytest.approx(losses(canonical, tokens), rel=5e-3)
    assert (logits.argmax(-1) == canonical.argmax(-1)).mean() >= 0.9
    assert np.abs(logits - canonical).mean() < 0.05 * np.abs(canonical).mean()


def test_more_spikes_come_closer_to_the_float_model(weights):
    tokens = random_tokens()
    exact = forward(TINY, weights, tokens, "w8")
    errors = [
        (forward(TINY, weights, tokens, "spike", k) - exact).square().mean().item()
        for k in (3.0, 30.0, 300.0)
    ]
    assert errors[0] > 20 * errors[1] > 400 * errors[2] > 0


def test_a_later_token_changes_no_earlier_logit(weights):
    tokens = random_tokens()
    changed = tokens.clone()
    changed[:, 9] = (changed[:, 9] + 1) % TINY.vocab_size
    for mode in ("float", "w8", "spike"):
        a, b = (forward(TINY, weights, t, mode) for t in (tokens, changed))
        torch.testing.assert_close(a[:, :9], b[:, :9], atol=1e-5, rtol=1e-5)
        assert (a[:, 9] - b[:, 9]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["float", "w8", "spike"])
def test_every_weight_learns_in_every_mode_under_bfloat16(weights, mode):
    tuned = {n: w.clone().requires_grad_() for n, w in weights.items()}
    with torch.autocast("cpu", torch.bfloat16):
        logits = forward(TINY, tuned, random_tokens(), mode)
    (logits - logits.mean(-1, keepdim=True)).square().sum().backward()
    for name, w in tuned.items():
        assert torch.isfinite(w.grad).all(), name
        assert w.grad.any(), name


def test_a_bfloat16_checkpoint_is_computed_in_float32(weights):
    tokens = random_tokens()
    half = {n: w.bfloat16() for n, w in weights.items()}
    wide = {n: w.float() for n, w in half.items()}
    for mode in ("float", "spike"):
        assert torch.equal(forward(TINY, half, tokens, mode), forward(TINY, wide, tokens, mode))


def bytes_config():
    return GlaSwaConfig(
        vocab_size=256,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=24,
        sliding_window=4,
    )


def test_a_model_that_knows_nothing_needs_eight_bits_per_byte():
    config = bytes_config()
    weights = random_weights(config)
    weights["lm_head.weight"].zero_()
    for mode in ("float", "spike"):
        assert bits_per_byte(config, weights, b"any text", mode) == pytest.approx(8, abs=1e-6)


def test_bits_are_summed_over_every_byte_of_windows_that_share_nothing():
    config = bytes_config()
    weights = random_weights(config, 3)
    text = b"def f(x):\n    return x\n"
    bits = 0.0
    for start in range(0, len(text), 8):
        seen = b"\n"
        for byte in text[start : start + 8]:
            p = softmax(
                forward(config, weights, torch.tensor([list(seen)]))[0, -1].double().numpy()
            )
            bits -= math.log2(p[byte])
            seen += bytes([byte])
    found = bits_per_byte(config, weights, text, window=8)
    assert found == pytest.approx(bits / len(text), rel=1e-5)


def test_models_of_other_families_are_refused():
    config = SpikingBrainMoeConfig(23, 32, 2, 4, 2, 72, 5, 16, (1,), (0,), 4, 1, 36, 36, 2)
    for run in (
        lambda: forward(config, {}, random_tokens()),
        lambda: bits_per_byte(config, {}, b"text"),
    ):
        with pytest.raises(Unsupported, match="no SpikingBrainMoeConfig"):
            run()

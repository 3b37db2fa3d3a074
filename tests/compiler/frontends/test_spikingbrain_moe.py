"""SpikingBrain-76B's form: the canonical executor against the formulas, written once more."""

import json
import math
import re

import numpy as np
import pytest
from safetensors.torch import save_file

from compiler.audit.graph import verify
from compiler.frontends.read import preset, read_model
from compiler.frontends.spikingbrain_moe import spikingbrain_moe
from compiler.graph import Parallel, Router
from compiler.weights import quantize
from hw_models.errors import BadInput
from kernels.canonical import execute
from tests.experts import CONFIG, TEXT, TWO_OF_FIVE, mixture, random_tensors, shapes_of

CONTEXT = 8  # of tests.experts.mixture: fewer than the tokens of TEXT


# ---- an independent implementation: NumPy, float64 and Python integers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def eight_bits(x):
    """The rows of an array [..., d] as they come back from int8."""
    step = np.abs(x).max(-1, keepdims=True) / 127
    return np.rint(x / step) * step


class Follower:
    """One sequence, token by token; every linear starts from the counts that were spiked.

    So each float operation is checked by itself: an error does not pile up, and none hides.
    """

    def __init__(self, config, tensors):
        self.config = config
        self.w = {n: t.double().numpy() for n, t in tensors.items()}
        self.eps = config.get("rms_norm_eps", 1e-6)
        self.heads, self.kv = config["num_attention_heads"], config["num_key_value_heads"]
        self.d = config["hidden_size"] // self.heads
        layers = range(config["num_hidden_layers"])
        self.state = {i: np.zeros((self.heads, self.d, self.d)) for i in layers}
        self.ring = {i: [] for i in layers}

    def token(self, trace, token, position):
        """Raises AssertionError where the trace is not what the formulas give."""
        self.trace, self.position, self.sites, self.sums = trace, position, set(), set()
        x = self.w["model.embed_tokens.weight"][token]
        for i in range(self.config["num_hidden_layers"]):
            at, own = f"model.layers.{i}.", f"layers.{i}."
            self.site(own + "attn_in", self.norm(x, at + "input_layernorm"))
            self.sums.add(own + "qkv")
            self.site(own + "o_in", self.attention(i, at + "self_attn.", own + "attn_in"))
            x = x + self.linear(at + "self_attn.o_proj", own + "o_in", own + "o")
            m = self.norm(x, at + "post_attention_layernorm")
            self.site(own + "mlp_in", m)
            x = x + self.feed_forward(i, at + "mlp.", own, m)
        self.site("head_in", self.norm(x, "model.norm"), fine=True)
        logits = self.linear("lm_head", "head_in", "head")
        np.testing.assert_allclose(trace.logits, logits, atol=1e-4 * np.abs(logits).max())
        assert trace.counts.keys() == trace.v_th.keys() == self.sites
        assert trace.sums.keys() == self.sums

    def norm(self, x, name):
        rms = np.sqrt((x**2).mean(-1, keepdims=True) + self.eps)
        return x / rms * self.w[name + ".weight"]

    def site(self, name, x, fine=False):
        """V_th and counts of a float vector; a quotient near a half may be rounded either way."""
        v_th = np.abs(x).max() / 32767 if fine else max(np.abs(x).mean() / 3, 1e-5)
        assert self.trace.v_th[name] == pytest.approx(v_th, rel=1e-5), name
        off = np.abs(x / v_th - self.trace.counts[name])
        assert off.max() < (0.6 if fine else 0.501), name  # 16 bits: 1e-5 of a count is 0.3
        self.sites.add(name)

    def linear(self, tensor, site, name=None):
        """y of a checkpoint's tensor as W8, from the counts of a site, exact up to the scales.

        name: the linear whose sums these are, in this order.
        """
        w = self.w[tensor + ".weight"]
        counts = [int(c) for c in self.trace.counts[site]]
        groups = [slice(g, g + 128) for g in range(0, w.shape[1], 128)]
        scale = np.float32(np.abs(w).max(1) / 127 * 32768 / 32767).astype(np.float64)
        sums = []
        for row, unit in zip(w, scale, strict=True):
            total = 0
            for g in groups:
                m = math.ceil(2**15 * np.abs(row[g]).max() / (127 * unit))
                m = min(max(m, 1), 32767)
                q = np.rint(row[g] / (unit * m / 2**15)).clip(-127, 127)
                total += m * sum(int(a) * b for a, b in zip(q, counts[g], strict=True))
            sums.append(total)
        if name is not None:
            assert self.trace.sums[name].tolist() == sums, name
            self.sums.add(name)
        v_th = float(self.trace.v_th[site])
        y = v_th * scale * np.array([float(s) for s in sums]) / 2**15
        return y + self.w.get(tensor + ".bias", 0)

    def turned(self, x, position):
        """RoPE of [heads, d], channel i with channel i + d / 2."""
        half = self.d // 2
        turn = self.config["rope_theta"] ** (-np.arange(half) / half) * position
        z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * turn)
        return np.concatenate([z.real, z.imag], 1)

    def attention(self, i, at, site):
        q, k, v = (self.linear(at + f"{n}_proj", site).reshape(-1, self.d) for n in "qkv")
        sinks, group = self.config["num_sink_tokens"], self.heads // self.kv
        where = sinks + self.position
        self.ring[i].append((eight_bits(self.turned(k, where)), eight_bits(v)))
        full = i in self.config["full_attention_layers"]
        seen = self.ring[i][-(CONTEXT if full else self.config["sliding_window"]) :]
        keys = [*eight_bits(self.w[at + "sink_key"]), *(a for a, _ in seen)]
        values = [*eight_bits(self.w[at + "sink_value"]), *(b for _, b in seen)]
        out, turned = [], self.turned(q, where)
        for h in range(self.heads):
            feature = sigmoid(k[h // group])
            self.state[i][h] *= 1 - feature[:, None]
            self.state[i][h] += np.outer(feature, v[h // group])
            o_1 = sigmoid(q[h]) @ self.state[i][h] / math.sqrt(self.d)
            p = np.exp([turned[h] @ key[h // group] / math.sqrt(self.d) for key in keys])
            o_2 = sum(a * value[h // group] for a, value in zip(p / p.sum(), values, strict=True))
            w_1, w_2 = self.config.get("branch_weights", (0.5, 0.5))
            a, b = self.norm(o_1, at + "linear_norm"), self.norm(o_2, at + "softmax_norm")
            out.append(w_1 * a + w_2 * b)
        return np.concatenate(out)

    def swiglu(self, at, own, site):
        gate, up = (self.linear(f"{at}{n}_proj", site) for n in ("gate", "up"))
        self.sums.add(own + "gate_up")
        self.site(own + "down_in", gate * sigmoid(gate) * up)
        return self.linear(at + "down_proj", own + "down_in", own + "down")

    def feed_forward(self, i, at, own, m):
        if i in self.config["mlp_only_layers"]:
            return self.swiglu(at, own, own + "mlp_in")
        self.site(own + "router_in", m, fine=True)
        scores = self.linear(at + "gate", own + "router_in", own + "router")
        ranked = sorted(range(len(scores)), key=lambda e: (-scores[e], e))
        chosen = sorted(ranked[: self.config["num_experts_per_tok"]])
        assert self.trace.chosen[own + "route"] == tuple(chosen)
        if self.config.get("scoring_func") == "sigmoid":
            weights = sigmoid(scores)
        else:
            weights = np.exp(scores) / np.exp(scores).sum()
        y = self.swiglu(at + "shared_expert.", own + "shared.", own + "mlp_in")
        for e in chosen:
            at_e, own_e = f"{at}experts.{e}.", f"{own}experts.{e}."
            y = y + weights[e] * self.swiglu(at_e, own_e, own + "mlp_in")
        return y


@pytest.mark.parametrize(
    ("config", "two_of_five"), [(CONFIG, False), (TWO_OF_FIVE, True)], ids=["top-1", "top-2"]
)
def test_canonical_execution_is_what_the_formulas_say(config, two_of_five):
    graph, tensors, numbers = mixture(two_of_five)
    follower, chosen = Follower(config, tensors), set()
    for position, trace in enumerate(execute(graph, numbers, TEXT)):
        follower.token(trace, TEXT[position], position)
        chosen |= {(name, e) for name, experts in trace.chosen.items() for e in experts}
    assert len(chosen) >= 5  # of eight or ten: the choice depends on the token


def test_a_token_does_not_change_what_came_before():
    graph, _, numbers = mixture()
    first = [t.logits for t in execute(graph, numbers, TEXT[:4])]
    other = [t.logits for t in execute(graph, numbers, (*TEXT[:3], 1))]
    assert [(a == b).all() for a, b in zip(first, other, strict=True)] == [True] * 3 + [False]


# ---- the checkpoint


@pytest.fixture
def folder(tmp_path):
    def save(config, tensors):
        (tmp_path / "config.json").write_text(json.dumps(config))
        save_file(tensors, tmp_path / "model.safetensors")
        return tmp_path

    return save


@pytest.mark.parametrize("config", [CONFIG, TWO_OF_FIVE], ids=["top-1", "top-2"])
def test_a_checkpoint_loads_and_runs(config, folder):
    tensors = random_tensors(config)
    graph, found = read_model(folder(config, tensors), context=CONTEXT)
    assert found.keys() == tensors.keys()
    text = TEXT[:3]
    wanted = list(execute(*mixture(config is TWO_OF_FIVE)[::2], text))
    for a, b in zip(execute(graph, quantize(graph, found), text), wanted, strict=True):
        assert (a.logits == b.logits).all() and a.chosen == b.chosen


def test_a_missing_tensor_is_named_and_one_too_many(folder):
    tensors = random_tensors(CONFIG)
    for own in ("mlp.experts.3.up_proj.weight", "mlp.gate.weight", "self_attn.sink_key"):
        name = f"model.layers.1.{own}"
        rest = {n: t for n, t in tensors.items() if n != name}
        with pytest.raises(BadInput, match=re.escape(f"{name} is missing")):
            read_model(folder(CONFIG, rest))
    with pytest.raises(BadInput, match=r"experts\.3\..*no place in this model"):
        read_model(folder(CONFIG | {"num_experts": 3}, tensors))


@pytest.mark.parametrize("config", [CONFIG, TWO_OF_FIVE], ids=["top-1", "top-2"])
def test_every_row_of_every_tensor_is_used_exactly_once(config):
    model = spikingbrain_moe(config, "m", None)
    rows = {}
    for linear in model.graph.linears:
        for part in linear.parts:
            for name in filter(None, (part.weight, part.bias)):
                pairs = zip(part.rows[::2], part.rows[1::2], strict=True)
                rows.setdefault(name, []).extend(r for a, b in pairs for r in range(a, b))
    shapes = shapes_of(config)
    assert all(sorted(taken) == list(range(shapes[n][0])) for n, taken in rows.items())
    assert model.expected({}).shapes == shapes
    norms = {n for n in shapes if "norm" in n or "sink" in n or "embed" in n}
    assert rows.keys() == shapes.keys() - norms


# ---- the published model


def test_the_preset_has_the_published_parameters():
    """76 billion, 12 for a token (arXiv 2509.05276, Table 2), from dimensions alone."""
    hidden, ffn, kv, vocab = 3584, 18_944, 512, 152_064
    expert, ends = 3 * hidden * ffn, 2 * vocab * hidden
    attention = 28 * (2 * hidden * hidden + 2 * hidden * kv)
    router = 21 * 16 * hidden
    total = ends + attention + router + (7 + 21 * 17) * expert
    active = ends + attention + router + (7 + 21 * 2) * expert
    graph = preset("spikingbrain-76b")
    held = sum(lin.n_pre * lin.n_post for lin in graph.linears) + vocab * hidden
    assert held == total and round(total / 1e9) == 76
    assert graph.macs() + vocab * hidden == active and round(active / 1e9) == 12
    # with q, k, v and o of its own for each branch it would be another model
    assert round((total + attention) / 1e9) == 77


def test_the_preset_has_the_published_layers():
    graph = preset("spikingbrain-76b", context=100_000)
    verify(graph)
    branches = [s for s in graph.stages if isinstance(s, Parallel)]
    full = [i for i, s in enumerate(branches, 1) if s.window == 100_000]
    assert full == [7, 14, 21, 28]
    assert {s.window for s in branches} == {4096, 100_000}
    assert {(s.sinks, s.heads, s.kv_heads, s.head_dim) for s in branches} == {(128, 28, 4, 128)}
    routers = [s for s in graph.stages if isinstance(s, Router)]
    dense = set(range(1, 29)) - {int(s.name.split(".")[1]) + 1 for s in routers}
    assert dense == {1, 2, 3, 5, 7, 9, 11}
    assert {(s.n, s.top_k) for s in routers} == {(16, 1)}
    assert {s.window for s in preset("spikingbrain-76b").stages if isinstance(s, Parallel)} == {
        4096
    }

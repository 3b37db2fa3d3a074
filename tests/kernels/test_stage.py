"""The float work between linears: neuron orders, what is carried, what is forgotten."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from compiler.graph import Gla, Logits, Parallel, Residual, Router, Stage, Swiglu, Window
from kernels.rope import rope
from kernels.stage import STAGES, split_heads
from kernels.window import dequantize_kv, quantize_kv

torch.set_num_threads(1)
EPS = 1e-6


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gla_op(heads=4, kv_heads=2, head_dim=3):
    return Gla("gla", "qkvg", "o_in", heads, kv_heads, head_dim, 16, "head_norm", EPS)


def window_op(window, heads=4, kv_heads=2, head_dim=8):
    return Window("swa", "qkv", "o_in", heads, kv_heads, head_dim, window, 10_000.0)


def test_neurons_come_per_key_value_head_its_queries_first():
    op = gla_op(heads=6, kv_heads=2, head_dim=2)
    y = torch.arange(2 * (3 + 3) * 2)
    q, k, v, gate = split_heads(op, y, 3)
    assert q.tolist() == [[0, 1], [2, 3], [4, 5], [12, 13], [14, 15], [16, 17]]
    assert k.tolist() == [[6, 7], [18, 19]]
    assert v.tolist() == [[8, 9], [20, 21]]
    assert gate.tolist() == [[10, 11], [22, 23]]


def parallel_op(window, sinks=3, merge=(0.5, 0.25)):
    names = ("sink_key", "sink_value", "linear_norm", "window_norm")
    size = (4, 2, 8, window, 10_000.0, sinks)
    return Parallel("both", "qkv", "o_in", *size, *names, EPS, merge)


def test_every_stage_of_the_graph_has_its_function():
    assert set(STAGES) == {op.kind for op in get_args(Stage)}


def test_the_residual_stream_adds_up_and_ends_at_the_logits():
    start = Residual("start", None, "in0", 5, "w", EPS)
    later = Residual("later", "o", "in1", 5, "w", EPS)
    vectors, memory = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])}, {}
    embedding, y = normal(0, 5), normal(1, 5)
    for position in (4, 5):  # two tokens in flight keep apart
        STAGES["residual"](start, vectors, memory, embedding * position, position)
    for position in (5, 4):
        out = STAGES["residual"](later, vectors, memory, y, position)
        x = (embedding * position + y).double().numpy()
        expected = x / math.sqrt((x**2).mean() + EPS) * np.arange(1, 6)
        np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5)
    head = Logits("logits", "head", 5)
    assert torch.equal(STAGES["logits"](head, vectors, memory, y, 4), y)
    assert list(memory) == [("x", 5)]


def test_gate_and_up_interleave():
    y = torch.tensor([1.0, 10.0, -2.0, 20.0, 0.0, 30.0])
    out = STAGES["swiglu"](Swiglu("act", "gate_up", "down_in", 3), {}, {}, y, 0)
    expected = [10 / (1 + math.exp(-1)), -2 / (1 + math.exp(2)) * 20, 0]
    assert out.tolist() == pytest.approx(expected)


def gla_oracle(op, tokens, weight):
    """Outputs of every token, loop by loop in float64; a query head reads its group's keys."""
    group, d = op.heads // op.kv_heads, op.head_dim
    state = np.zeros((op.heads, d, d))
    for y in tokens.double().numpy().reshape(len(tokens), op.kv_heads, group + 3, d):
        out = np.zeros((op.heads, d))
        for head in range(op.heads):
            part = y[head // group]
            q, k, v, gate = part[head % group], part[group], part[group + 1], part[group + 2]
            decay = (1 / (1 + np.exp(-gate))) ** (1 / op.normalizer)
            state[head] = state[head] * decay[:, None] + np.outer(np.maximum(k, 0), v)
            o = np.maximum(q, 0) @ state[head] / math.sqrt(d)
            out[head] = o / math.sqrt((o**2).mean() + op.eps) * weight
        yield out.reshape(-1)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 3), (5, 1)])
def test_gla_carries_its_state_from_token_to_token(heads, kv_heads):
    op = gla_op(heads, kv_heads)
    tokens = normal(2, 9, kv_heads * (heads // kv_heads + 3) * op.head_dim)
    weight, memory = normal(3, op.head_dim), {}
    expected = gla_oracle(op, tokens, weight.double().numpy())
    for position, (y, want) in enumerate(zip(tokens, expected, strict=True)):
        out = STAGES["gla"](op, {"head_norm": weight}, memory, y, position)
        np.testing.assert_allclose(out.numpy(), want, rtol=1e-4, atol=1e-5)


def window_oracle(op, tokens, position, before=((), ())):
    """Softmax in float64 over the last `window` tokens up to `position`, keys stored as int8.

    before: keys and values that are seen besides.
    """
    first = getattr(op, "sinks", 0)
    kept = range(max(0, position - op.window + 1), position + 1)
    q = rope(split_heads(op, tokens[position], 2)[0], first + position, op.theta).double().numpy()
    pairs = [split_heads(op, tokens[t], 2)[1:] for t in kept]
    keys = [rope(k, first + t, op.theta) for t, (k, _) in zip(kept, pairs, strict=True)]
    keys, values = [*before[0], *keys], [*before[1], *(v for _, v in pairs)]
    k, v = (
        np.array([dequantize_kv(*quantize_kv(a)).double().numpy() for a in side])
        for side in (keys, values)
    )
    out = []
    for head in range(op.heads):
        kv = head // (op.heads // op.kv_heads)
        p = np.exp(k[:, kv] @ q[head] / math.sqrt(op.head_dim))
        out.append(p / p.sum() @ v[:, kv])
    return np.concatenate(out)


@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_a_window_keeps_exactly_its_last_tokens(window):
    op = window_op(window)
    tokens, memory = normal(4, 12, 2 * (2 + 2) * 8), {}
    for position, y in enumerate(tokens):
        out = STAGES["window"](op, {}, memory, y, position)
        np.testing.assert_allclose(out.numpy(), window_oracle(op, tokens, position), atol=5e-6)
        assert {a.shape[0] for a in memory["swa"]} == {min(window, position + 1)}


def tied_oracle(op, tokens):
    """Linear attention of every token, float64: decay 1 - sigmoid(k), loop by loop."""
    group, d = op.heads // op.kv_heads, op.head_dim
    state = np.zeros((op.heads, d, d))
    for y in tokens.double().numpy().reshape(len(tokens), op.kv_heads, group + 2, d):
        out = np.zeros((op.heads, d))
        for head in range(op.heads):
            part = y[head // group]
            q, k = (1 / (1 + np.exp(-part[i])) for i in (head % group, group))
            for i in range(d):
                for j in range(d):
                    state[head, i, j] = (1 - k[i]) * state[head, i, j] + k[i] * part[group + 1, j]
            out[head] = q @ state[head] / math.sqrt(d)
        yield out


@pytest.mark.parametrize("window", [1, 3, 20])
def test_branches_run_side_by_side_and_are_normalised_before_they_are_merged(window):
    op, d = parallel_op(window), 8
    tokens, memory = normal(6, 9, 2 * (2 + 2) * d), {}
    vectors = {"sink_key": normal(7, 3, 2, d), "sink_value": normal(8, 3, 2, d)}
    vectors |= {"linear_norm": normal(9, d), "window_norm": normal(10, d)}
    before = (list(vectors["sink_key"]), list(vectors["sink_value"]))

    def normed(x, weight):
        x = x.reshape(4, d)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * vectors[weight].double().numpy()

    for position, (y, o_1) in enumerate(zip(tokens, tied_oracle(op, tokens), strict=True)):
        out = STAGES["parallel"](op, vectors, memory, y, position)
        o_2 = window_oracle(op, tokens, position, before)
        wanted = 0.5 * normed(o_1, "linear_norm") + 0.25 * normed(o_2, "window_norm")
        np.testing.assert_allclose(out.numpy(), wanted.reshape(-1), atol=2e-5)
        state, ring = memory["both"]
        assert state.shape == (4, d, d)
        assert {a.shape[0] for a in ring} == {min(window, position + 1)}  # no room for sinks


def test_a_router_keeps_its_choice_until_the_residual_stream_takes_it():
    stage = Router("route", "router", 4, 2, "softmax")
    logits = torch.tensor([1.0, 3.0, 0.0, 2.0])
    memory = {("x", 5): torch.tensor([1.0, 1.0])}
    weights = STAGES["router"](stage, {}, memory, logits, 5)
    wanted = np.exp([3.0, 2.0]) / np.exp([1.0, 3.0, 0.0, 2.0]).sum()
    np.testing.assert_allclose(weights.numpy(), wanted, rtol=1e-6)
    assert memory["route", 5][0] == (1, 3)
    later = Residual("later", "down", "in", 2, "w", EPS, "route", ("a", "b", "c", "d"))
    rows = torch.tensor([[10.0, 20.0], [100.0, 0.0], [0.0, 1000.0]])
    STAGES["residual"](later, {"w": torch.ones(2)}, memory, rows, 5)
    assert memory.keys() == {("x", 5)}
    np.testing.assert_allclose(memory["x", 5], [11 + 100 * wanted[0], 21 + 1000 * wanted[1]])


def test_operations_carry_their_own_state():
    first, second = gla_op(), replace(gla_op(), name="other")
    y, vectors, memory = normal(5, 2 * 5 * 3), {"head_norm": torch.ones(3)}, {}
    alone = STAGES["gla"](first, vectors, memory, y, 0)
    assert torch.equal(STAGES["gla"](second, vectors, memory, y, 0), alone)
    assert not torch.equal(STAGES["gla"](first, vectors, memory, -y, 1), alone)
    assert set(memory) == {"gla", "other"}

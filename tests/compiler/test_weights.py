"""Float tensors become the integers of the contract, in the order of the graph's neurons."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from compiler import weights
from compiler.graph import Linear, Part
from compiler.weights import fuse, quantize, take_rows, verify
from hw_models.errors import BadInput, Bug
from tests.small import model
from tests.tiny import TINY

GRAPH, TENSORS, NUMBERS = model(0, TINY)


def test_rows_are_taken_in_the_order_named():
    x = torch.arange(20).reshape(10, 2)
    assert take_rows(x, (8, 10, 0, 1)).tolist() == [[16, 17], [18, 19], [0, 1]]


def test_gate_and_up_are_interleaved():
    linear = next(lin for lin in GRAPH.linears if lin.align == 2)
    weight, bias = fuse(linear, TENSORS)
    gate, up = (TENSORS[p.weight].float() for p in linear.parts)
    assert torch.equal(weight[0::2], gate)
    assert torch.equal(weight[1::2], up)
    assert bias.shape == (linear.n_post,)


def test_parts_with_and_without_bias_share_a_linear():
    tensors = {"a": torch.ones(2, 3), "b": torch.full((2, 3), 2.0)}
    tensors["bias"] = torch.tensor([5.0, 6.0])
    parts = (Part("a", None, (0, 2)), Part("b", "bias", (1, 2)))
    weight, bias = fuse(Linear("l", "s", 3, 3, parts), tensors)
    assert weight.tolist() == [[1.0] * 3, [1.0] * 3, [2.0] * 3]
    assert bias.tolist() == [0.0, 0.0, 6.0]


def test_every_weight_is_the_nearest_code_of_its_group():
    """Recomputed with exact fractions from the contract's definition (DESIGN 3.3)."""
    for linear in GRAPH.linears[:2]:
        weight, _ = fuse(linear, TENSORS)
        w8, _ = NUMBERS.linears[linear.name]
        for row in range(0, linear.n_post, 13):
            scale = Fraction(float(w8.row_scale[row]))
            exact = [Fraction(float(w)) for w in weight[row]]
            for g in range(-(-linear.n_pre // 128)):
                m = int(w8.m[row, g])
                group = exact[128 * g : 128 * (g + 1)]
                largest = max(map(abs, group))
                wanted = -(-(2**15 * largest / (127 * scale)) // 1)
                assert m == min(max(wanted, 1), 32767)
                step = scale * m / 2**15
                for i, w in enumerate(group):
                    code = int(w8.q[row, 128 * g + i])
                    assert code == max(-127, min(127, round(w / step)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named(bad):
    name = next(n for n in TENSORS if n.endswith("down_proj.weight"))
    broken = TENSORS[name].clone()
    broken[3, 5] = bad
    with pytest.raises(BadInput, match="NaN or infinity") as caught:
        quantize(GRAPH, TENSORS | {name: broken})
    assert caught.value.where == name


def damaged(change):
    """NUMBERS with the first linear's q, m, row_scale or bias changed."""
    name = GRAPH.linears[0].name
    w8, bias = NUMBERS.linears[name]
    parts = {"q": w8.q.clone(), "m": w8.m.clone(), "row_scale": w8.row_scale.clone()}
    bias = bias.clone()
    change(parts, bias)
    linears = dict(NUMBERS.linears) | {name: (replace(w8, **parts), bias)}
    return replace(NUMBERS, linears=linears)


def bump(name, by):
    def change(parts, bias):
        where = bias if name == "bias" else parts[name]
        where.view(-1)[7] += by

    return change


@pytest.mark.parametrize(
    ("name", "by"), [("q", 1), ("q", -1), ("m", 400), ("row_scale", 0.01), ("bias", 0.5)]
)
def test_the_verifier_sees_a_changed_number(name, by):
    verify(NUMBERS, GRAPH, TENSORS)
    with pytest.raises(Bug) as caught:
        verify(damaged(bump(name, by)), GRAPH, TENSORS)
    assert caught.value.where == GRAPH.linears[0].name


def test_all_norms_and_the_embedding_are_kept_as_they_are():
    wanted = {s.weight for s in GRAPH.stages if getattr(s, "weight", None)}
    assert set(NUMBERS.vectors) == wanted
    for name in wanted:
        assert np.array_equal(NUMBERS.vectors[name].numpy(), TENSORS[name].float().numpy())
    assert torch.equal(NUMBERS.embedding, TENSORS[GRAPH.embedding].float())


class Fresh(Mapping):
    """Tensors as copies of their own; `most` is the largest number of values alive at once."""

    def __init__(self, tensors):
        self.tensors, self.alive, self.most, self.read = tensors, weakref.WeakSet(), 0, []

    def __getitem__(self, name):
        copy = self.tensors[name].clone()
        self.alive.add(copy)
        self.most = max(self.most, sum(t.numel() for t in self.alive))
        self.read.append(name)
        return copy

    def __iter__(self):
        return iter(self.tensors)

    def __len__(self):
        return len(self.tensors)


def test_no_more_than_one_linear_is_in_memory():
    """Norm vectors and the embedding stay besides, as part of the result."""
    source = {n: t.bfloat16() for n, t in TENSORS.items()}  # so that .float() is another tensor
    fresh = Fresh(source)
    numbers = quantize(GRAPH, fresh)
    largest = max(
        sum(source[n].numel() for n in {x for p in lin.parts for x in (p.weight, p.bias) if x})
        for lin in GRAPH.linears
    )
    assert fresh.most == largest
    assert sorted(fresh.read) == sorted(source)  # each once
    fresh.most = 0
    verify(numbers, GRAPH, fresh)
    assert fresh.most == largest


def test_rows_are_quantised_alike_however_many_at_once(monkeypatch):
    monkeypatch.setattr(weights, "_rows_at_once", lambda n_pre: 7)
    pieces = quantize(GRAPH, TENSORS)
    for name, (w8, bias) in NUMBERS.linears.items():
        found, kept = pieces.linears[name]
        assert torch.equal(found.q, w8.q) and torch.equal(found.m, w8.m)
        assert torch.equal(found.row_scale, w8.row_scale) and torch.equal(kept, bias)
    verify(pieces, GRAPH, TENSORS)
    with pytest.raises(Bug):
        verify(damaged(bump("q", 1)), GRAPH, TENSORS)

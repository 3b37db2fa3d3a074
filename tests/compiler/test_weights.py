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
from compiler.program import from_arrays, widened
from compiler.weights import collect, forms, fuse, quantize, sections, verify
from hw_models.errors import BadInput, Bug
from kernels.linear import quantize_w8
from tests.small import model
from tests.tiny import TINY

GRAPH, TENSORS, NUMBERS = model(0, TINY)


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


def test_all_linears_are_the_slow_twins():
    for linear in GRAPH.linears:
        weight, bias = fuse(linear, TENSORS)
        want, (w8, kept) = quantize_w8(weight), NUMBERS.linears[linear.name]
        for name in ("q", "m", "row_scale"):
            assert torch.equal(getattr(w8, name), getattr(want, name)), (linear.name, name)
        assert torch.equal(kept, bias)


def where_of_bad(name, bad):
    broken = TENSORS[name].clone()
    broken.view(-1)[-3] = bad
    with pytest.raises(BadInput, match="NaN or infinity") as caught:
        quantize(GRAPH, TENSORS | {name: broken})
    return caught.value.where


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_named(bad):
    for end in ("down_proj.weight", "q_proj.bias", "attn_norm.weight", "embeddings.weight"):
        name = next(n for n in TENSORS if n.endswith(end))
        assert where_of_bad(name, bad) == name


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
    ("name", "by"),
    [("q", 1), ("q", -1), ("m", 1), ("m", -1), ("m", 400), ("row_scale", 0.01), ("bias", 0.5)],
)
def test_the_verifier_sees_a_changed_number(name, by):
    verify(NUMBERS, GRAPH, TENSORS)
    with pytest.raises(Bug) as caught:
        verify(damaged(bump(name, by)), GRAPH, TENSORS)
    assert caught.value.where.partition(",")[0] == GRAPH.linears[0].name


def test_the_verifier_sees_another_norm():
    name = next(iter(NUMBERS.vectors))
    other = dict(NUMBERS.vectors) | {name: NUMBERS.vectors[name] + 1}
    with pytest.raises(Bug, match="another vector") as caught:
        verify(replace(NUMBERS, vectors=other), GRAPH, TENSORS)
    assert caught.value.where == name


def test_a_wrong_block_is_never_handed_out(monkeypatch):
    def careless(*arguments):
        block = right(*arguments)
        block.q[-1, -1] ^= 1
        return block

    right = weights.quantize_block
    monkeypatch.setattr(weights, "quantize_block", careless)
    with pytest.raises(Bug, match="half a step"):
        quantize(GRAPH, TENSORS)


def test_all_norms_are_kept_as_they_are():
    wanted = {s.weight for s in GRAPH.stages if getattr(s, "weight", None)}
    assert set(NUMBERS.vectors) == wanted
    for name in wanted:
        assert np.array_equal(NUMBERS.vectors[name].numpy(), TENSORS[name].float().numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_embedding_keeps_the_type_and_every_value(dtype):
    tensors = {n: t.to(dtype) for n, t in TENSORS.items()}
    table = tensors[GRAPH.embedding]
    assert quantize(GRAPH, tensors).embedding.dtype == dtype
    assert torch.equal(quantize(GRAPH, tensors).embedding, table)
    arrays = collect(forms(GRAPH, tensors), sections(GRAPH, tensors))
    assert arrays["embedding"].nbytes == table.nbytes
    assert np.array_equal(widened(arrays["embedding"]), table.float().numpy())


def test_sections_are_of_the_form_that_is_told_before():
    told = forms(GRAPH, TENSORS)
    arrays = collect(told, sections(GRAPH, TENSORS))
    pieces = list(sections(GRAPH, TENSORS))
    assert {name for name, _ in pieces} == set(told)
    for name, form in told.items():
        own = [piece for which, piece in pieces if which == name]
        assert np.array_equal(np.concatenate(own), arrays[name])
        assert arrays[name].dtype == form.dtype and arrays[name].shape == form.shape
    found = from_arrays(GRAPH, arrays)
    assert set(found["linears"]) == {lin.name for lin in GRAPH.linears}


class Fresh(Mapping):
    """Tensors as copies of their own; `most` is the largest number of values alive at once."""

    def __init__(self, tensors):
        self.tensors, self.alive, self.most = tensors, weakref.WeakSet(), 0

    def __getitem__(self, name):
        copy = self.tensors[name].clone()
        self.alive.add(copy)
        self.most = max(self.most, sum(t.numel() for t in self.alive))
        return copy

    def __iter__(self):
        return iter(self.tensors)

    def __len__(self):
        return len(self.tensors)


def test_no_more_than_one_linear_per_thread_is_in_memory(monkeypatch):
    largest = max(
        sum(TENSORS[n].numel() for n in {x for p in lin.parts for x in (p.weight, p.bias) if x})
        for lin in GRAPH.linears
    )
    for threads in (1, 2):
        monkeypatch.setattr(weights, "workers", lambda n=threads: n)
        fresh = Fresh(TENSORS)
        for _ in sections(GRAPH, fresh):
            pass
        assert 0 < fresh.most <= threads * largest


def test_blocks_and_threads_change_nothing(monkeypatch):
    for size, threads in ((1, 1), (7 * 32, 3), (1 << 20, 2)):
        monkeypatch.setattr(weights, "BLOCK", size)
        monkeypatch.setattr(weights, "workers", lambda n=threads: n)
        pieces = quantize(GRAPH, TENSORS)
        for name, (w8, bias) in NUMBERS.linears.items():
            found, kept = pieces.linears[name]
            assert torch.equal(found.q, w8.q) and torch.equal(found.m, w8.m)
            assert torch.equal(found.row_scale, w8.row_scale) and torch.equal(kept, bias)
        verify(pieces, GRAPH, TENSORS)
        with pytest.raises(Bug):
            verify(damaged(bump("q", 1)), GRAPH, TENSORS)


@pytest.mark.parametrize("size", [1, 32 * 7, 1 << 22])
def test_progress_counts_blocks(monkeypatch, size):
    monkeypatch.setattr(weights, "BLOCK", size)
    seen = []
    for _ in sections(GRAPH, TENSORS, lambda *step: seen.append(step)):
        pass
    matrices = [(lin.n_post, lin.n_pre) for lin in GRAPH.linears]
    matrices.append(tuple(TENSORS[GRAPH.embedding].shape))
    n = sum(-(-rows // max(1, size // columns)) for rows, columns in matrices)
    n += len(NUMBERS.vectors)
    assert seen == [(i, n) for i in range(n + 1)]

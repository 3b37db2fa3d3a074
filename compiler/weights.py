"""Integer weights of a fused linear, and the float parameters that stay float."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from compiler.graph import Graph, Linear, vectors_of
from hw_models.errors import BadInput, Bug
from kernels.canonical import Numbers
from kernels.linear import W8, quantize_w8


def take_rows(tensor: Tensor, rows: tuple[int, ...]) -> Tensor:
    """Rows of a tensor by flattened (start, stop) pairs."""
    return torch.cat([tensor[a:b] for a, b in zip(rows[::2], rows[1::2], strict=True)])


def fuse(linear: Linear, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Float32 weight [n_post, n_pre] and bias [n_post] in the linear's neuron order."""
    weight, bias = [], []
    for part in linear.parts:
        rows = take_rows(tensors[part.weight], part.rows).float()
        weight.append(rows)
        if part.bias is None:
            bias.append(torch.zeros(rows.shape[0]))
        else:
            bias.append(take_rows(tensors[part.bias], part.rows).float())
    if linear.align == 1:
        return torch.cat(weight), torch.cat(bias)
    # interleave: one row of every part in turn
    return (
        torch.stack(weight, 1).reshape(linear.n_post, linear.n_pre),
        torch.stack(bias, 1).reshape(linear.n_post),
    )


def held_by(linear: Linear, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one linear, each read once."""
    names = {name for part in linear.parts for name in (part.weight, part.bias) if name}
    return {name: tensors[name] for name in sorted(names)}


def quantize(graph: Graph, tensors: Mapping[str, Tensor]) -> Numbers:
    """Turn a checkpoint's float tensors into W8 synapses, linear by linear.

    Besides the result, memory holds one linear's tensors at a time. Raises BadInput for NaN or
    infinity, naming the tensor.
    """
    linears = {linear.name: _quantize_linear(linear, tensors) for linear in graph.linears}
    named = sorted({name for stage in graph.stages for name in vectors_of(stage)})
    vectors = {name: _finite(name, tensors[name]).float() for name in named}
    if graph.embedding is None:
        return Numbers(linears, vectors, torch.zeros(0, 0))
    return Numbers(linears, vectors, _finite(graph.embedding, tensors[graph.embedding]).float())


def _quantize_linear(linear: Linear, tensors: Mapping[str, Tensor]) -> tuple[W8, Tensor]:
    own = {name: _finite(name, tensor) for name, tensor in held_by(linear, tensors).items()}
    weight, bias = fuse(linear, own)
    return _quantize_rows(weight), bias


def _finite(name: str, tensor: Tensor) -> Tensor:
    if not torch.isfinite(tensor).all():
        raise BadInput("weights hold NaN or infinity", where=name)
    return tensor


def _rows_at_once(n_pre: int) -> int:
    """Rows of some 4 million weights: float64 copies of them are small beside a layer."""
    return max(1, (1 << 22) // n_pre)


def _quantize_rows(weight: Tensor) -> W8:
    """quantize_w8, whose rows do not depend on each other, a few rows at a time."""
    pieces = [quantize_w8(rows) for rows in torch.split(weight, _rows_at_once(weight.shape[1]))]
    if len(pieces) == 1:
        return pieces[0]
    return W8(*(torch.cat([getattr(p, name) for p in pieces]) for name in ("q", "m", "row_scale")))


def verify(numbers: Numbers, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
    """No weight is further than half a step from its integer form; codes and mantissas in range."""
    for linear in graph.linears:
        _verify_linear(linear, *numbers.linears[linear.name], tensors)


def _verify_linear(linear: Linear, w8: W8, kept: Tensor, tensors: Mapping[str, Tensor]) -> None:
    weight, bias = fuse(linear, held_by(linear, tensors))
    if not torch.equal(kept, bias):
        raise Bug("another bias", where=linear.name)
    size = _rows_at_once(linear.n_pre)
    for lo in range(0, linear.n_post, size):
        rows = slice(lo, lo + size)
        _verify_rows(W8(w8.q[rows], w8.m[rows], w8.row_scale[rows]), weight[rows], linear.name)


def _verify_rows(w8: W8, weight: Tensor, where: str) -> None:
    q, m = w8.q.numpy().astype(np.float64), w8.m.numpy().astype(np.float64)
    step = np.repeat(w8.row_scale.numpy().astype(np.float64)[:, None] * m / 32768, 128, axis=1)
    step = step[:, : weight.shape[1]]
    off = np.abs(weight.numpy().astype(np.float64) - q * step)
    # half a step, and at the ends of the range what rounding the row scale may cost
    if (off > 0.5 * step + 127 * step * 2.0**-23).any() or np.abs(q).max() > 127:
        raise Bug("a weight is more than half a step off", where=where)
    if m.min() < 1 or m.max() > 32767:
        raise Bug("a mantissa out of range", where=where)

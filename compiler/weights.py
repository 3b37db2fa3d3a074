"""Integer weights of a fused linear, and the float parameters that stay float."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from compiler.graph import Graph, Linear
from hw_models.errors import BadInput, Bug
from kernels.canonical import Numbers
from kernels.linear import quantize_w8


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


def quantize(graph: Graph, tensors: Mapping[str, Tensor]) -> Numbers:
    """Turn a checkpoint's float tensors into W8 synapses; BadInput for NaN or infinity."""
    for name in sorted(tensors):
        if not torch.isfinite(tensors[name]).all():
            raise BadInput("weights hold NaN or infinity", where=name)
    linears = {}
    for linear in graph.linears:
        weight, bias = fuse(linear, tensors)
        linears[linear.name] = (quantize_w8(weight), bias)
    named = {getattr(s, "weight", None) for s in graph.stages} - {None}
    vectors = {str(n): tensors[str(n)].float() for n in sorted(map(str, named))}
    return Numbers(linears, vectors, tensors[graph.embedding].float())


def verify(numbers: Numbers, graph: Graph, tensors: Mapping[str, Tensor]) -> None:
    """No weight is further than half a step from its integer form; codes and mantissas in range."""
    for linear in graph.linears:
        weight, bias = fuse(linear, tensors)
        w8, kept = numbers.linears[linear.name]
        q, m = w8.q.numpy().astype(np.float64), w8.m.numpy().astype(np.float64)
        step = np.repeat(w8.row_scale.numpy().astype(np.float64)[:, None] * m / 32768, 128, axis=1)
        step = step[:, : linear.n_pre]
        off = np.abs(weight.numpy().astype(np.float64) - q * step)
        # half a step, and at the ends of the range what rounding the row scale may cost
        if (off > 0.5 * step + 127 * step * 2.0**-23).any() or np.abs(q).max() > 127:
            raise Bug("a weight is more than half a step off", where=linear.name)
        if m.min() < 1 or m.max() > 32767 or not torch.equal(kept, bias):
            raise Bug("a mantissa out of range, or another bias", where=linear.name)

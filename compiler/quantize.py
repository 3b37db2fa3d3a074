"""A block of rows of a fused linear: its float weights become W8 synapses, and are checked.

The quantiser goes through the parts of a linear and tells each row its neuron; the verifier goes
through the neurons and asks each for its row. Their kernels (compiler.hot.w8) differ likewise.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Linear, Part
from compiler.hot import w8 as hot
from hw_models.errors import BadInput, Bug
from kernels.linear import GROUP

Tensors = Mapping[str, Tensor]

_WRONG: dict[int, str] = {
    hot.CODE: "a weight is more than half a step off",
    hot.MANTISSA: "a mantissa is not the least that covers its group",
    hot.SCALE: "a row scale is not that of its row",
}


@dataclass(frozen=True, slots=True)
class Block:
    """Neurons lo, lo + 1, ... of one linear; arrays as in program.LinearArrays."""

    linear: Linear
    lo: int
    q: NDArray[np.int8]
    m: NDArray[np.int32]
    row_scale: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def hi(self) -> int:
        return self.lo + len(self.q)


class Run(NamedTuple):
    """Rows a to b of a part's tensors become neurons first, first + step, ..."""

    part: Part
    a: int
    b: int
    first: int
    step: int


def runs(linear: Linear, lo: int, hi: int) -> Iterator[Run]:
    """What neurons lo to hi are made of: parts one after another, or row by row in turn."""
    base = 0
    for i, part in enumerate(linear.parts):
        step, first = (1, base) if linear.align == 1 else (linear.align, i)
        for start, stop in zip(part.rows[::2], part.rows[1::2], strict=True):
            skip = max(0, -(-(lo - first) // step))
            end = min(stop - start, -(-(hi - first) // step))
            if skip < end:
                yield Run(part, start + skip, start + end, first + skip * step, step)
            first += step * (stop - start)
            base += stop - start


def quantize_block(linear: Linear, tensors: Tensors, lo: int, hi: int) -> Block:
    """W8 of neurons lo to hi; BadInput for NaN or infinity, naming the tensor."""
    n = hi - lo
    q = np.empty((n, linear.n_pre), np.int8)
    m = np.empty((n, -(-linear.n_pre // GROUP)), np.int32)
    row_scale, bias = np.empty(n, np.float32), np.zeros(n, np.float32)
    room = np.empty(linear.n_pre, np.uint32)
    for part, a, b, first, step in runs(linear, lo, hi):
        source, shift = float_bits(tensors[part.weight][a:b])
        if hot.quantize(source, shift, first - lo, step, room, q, m, row_scale) >= 0:
            raise _not_finite(part.weight)
        if part.bias is not None:
            values = finite(part.bias, tensors[part.bias][a:b]).float().numpy()
            bias[first - lo : first - lo + step * (b - a) : step] = values
    return Block(linear, lo, q, m, row_scale, bias)


def _not_finite(name: str) -> BadInput:
    return BadInput("weights hold NaN or infinity", where=name)


def finite(name: str, rows: Tensor) -> Tensor:
    """The rows as they are; BadInput for NaN or infinity, naming the tensor."""
    bits, shift = float_bits(rows)
    exponent = bits.dtype.type(0x7F800000 >> shift)  # all ones in what is no number
    if ((bits & exponent) == exponent).any():
        raise _not_finite(name)
    return rows


def verify_block(block: Block, tensors: Tensors) -> None:
    """Every neuron has the codes, mantissas, scale and bias of its row; raises Bug."""
    linear = block.linear
    part_of, row_of = (of[block.lo : block.hi] for of in origins(linear))
    room = np.empty(linear.n_pre, np.uint32)
    for i in np.unique(part_of).tolist():
        part, neurons = linear.parts[i], np.flatnonzero(part_of == i)
        rows = row_of[neurons]
        first, last = int(rows.min()), int(rows.max())
        source, shift = float_bits(tensors[part.weight][first : last + 1])
        arrays = (block.q, block.m, block.row_scale)
        wrong, neuron = hot.check(source, shift, rows - first, neurons, room, *arrays)
        if wrong != hot.FINE:
            where = f"{linear.name}, neuron {block.lo + neuron}"
            raise Bug(_WRONG[wrong], where=where)
        wanted = 0.0 if part.bias is None else tensors[part.bias].float().numpy()[rows]
        if (block.bias[neurons] != wanted).any():
            raise Bug("another bias", where=linear.name)


def origins(linear: Linear) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every neuron: the part it comes from, and its row in that part's tensors."""
    rows = [
        np.concatenate([np.arange(*pair) for pair in np.reshape(part.rows, (-1, 2))])
        for part in linear.parts
    ]
    parts = [np.full(len(r), i) for i, r in enumerate(rows)]
    if linear.align == 1:
        return np.concatenate(parts), np.concatenate(rows)
    return np.stack(parts, 1).reshape(-1), np.stack(rows, 1).reshape(-1)


def float_bits(rows: Tensor) -> tuple[NDArray[Any], int]:
    """A matrix as hot.w8 takes it: the bits of its floats, and where they begin in float32's."""
    rows = rows.detach().contiguous()
    if rows.dtype == torch.bfloat16:
        return rows.view(torch.int16).numpy().view(np.uint16), 16
    return rows.float().view(torch.int32).numpy().view(np.uint32), 0

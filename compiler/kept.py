"""Synapses that are integers already keep their values, and their sums too.

With a mantissa of 2^14 and a row scale of 2 a sum Y = 2^14 A scales back to A itself (DESIGN
3.3: y = row_scale Y 2^-15 for spikes, whose V_th is 1), exactly, because |A| < 2^24.
"""

from typing import Final

import numpy as np
import torch

from compiler.graph import Linear
from compiler.quantize import Block, Tensors, origins, runs
from hw_models.errors import Bug
from kernels.linear import GROUP

MANTISSA: Final = 1 << 14
ROW_SCALE: Final = 2.0
MOST: Final = 127


def keep_block(linear: Linear, tensors: Tensors, lo: int, hi: int) -> Block:
    """Neurons lo to hi of a linear of integers; Bug for a weight that is none."""
    n = hi - lo
    weight, bias = np.zeros((n, linear.n_pre)), np.zeros(n, np.float32)
    for part, a, b, first, step in runs(linear, lo, hi):
        own = slice(first - lo, first - lo + step * (b - a), step)
        weight[own] = tensors[part.weight][a:b].double().numpy()
        if part.bias is not None:
            bias[own] = tensors[part.bias][a:b].float().numpy()
    if not ((np.abs(weight) <= MOST) & (weight == np.rint(weight))).all():
        raise Bug(f"a synapse is no integer from -{MOST} to {MOST}", where=linear.name)
    m = np.full((n, -(-linear.n_pre // GROUP)), MANTISSA, np.int32)
    return Block(linear, lo, weight.astype(np.int8), m, np.full(n, ROW_SCALE, np.float32), bias)


def verify_kept(block: Block, tensors: Tensors) -> None:
    """Every neuron's synapses are its row, and a sum of ones scales back to itself; Bug if not."""
    linear = block.linear
    part_of, row_of = (of[block.lo : block.hi] for of in origins(linear))
    for j, (i, row) in enumerate(zip(part_of.tolist(), row_of.tolist(), strict=True)):
        part, where = linear.parts[i], f"{linear.name}, neuron {block.lo + j}"
        if not torch.equal(tensors[part.weight][row].float(), torch.from_numpy(block.q[j]).float()):
            raise Bug("another synapse", where=where)
        if any(int(m) * float(block.row_scale[j]) != 2.0**15 for m in block.m[j]):
            raise Bug("a sum is scaled", where=where)
        wanted = 0.0 if part.bias is None else float(tensors[part.bias][row])
        if float(block.bias[j]) != wanted:
            raise Bug("another bias", where=linear.name)

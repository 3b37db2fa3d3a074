"""Sums of whole linears for the canonical executor, by the kernel that tiles use.

kernels.linear.exact_linear is obviously right and reads eight bytes per weight; this reads one, and
gives the same integers. It is for texts too long to be walked otherwise.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.program import LinearArrays, Program
from hw_models.errors import BadInput
from kernels.canonical import Sums
from simulator.hot import rows

BLOCK = 512
"""Neurons that one thread adds up at once."""


def sums_by_rows(program: Program) -> Sums:
    """Y of a linear, int64[n_post], from its int32 counts; BadInput where an accumulator does not
    fit int32."""
    held = {name: _blocks(arrays) for name, arrays in program.linears.items()}

    def sums(name: str, counts: Tensor) -> Tensor:
        table, weight, mantissa = held[name]
        driven = counts.numpy()
        _check_accumulators(name, table, weight, driven)
        y = np.empty(int(table[:, rows.NEURON_N].sum()), np.int64)
        rows.linear_sums(y, table, weight, mantissa, driven)
        return torch.from_numpy(y)

    return sums


def _blocks(
    arrays: LinearArrays,
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int16]]:
    """(table, weights [axon, neuron], mantissas [group, neuron]) of blocks of neurons."""
    q, m = arrays.q[:], arrays.m[:]
    first = np.arange(0, len(q), BLOCK)
    table = np.zeros((first.size, 6), np.int64)
    table[:, rows.N_PRE] = q.shape[1]
    table[:, rows.NEURON_LO] = first
    table[:, rows.NEURON_N] = np.minimum(BLOCK, len(q) - first)
    table[:, rows.WEIGHT], table[:, rows.MANTISSA] = first * q.shape[1], first * m.shape[1]
    cut = [slice(lo, lo + BLOCK) for lo in first.tolist()]
    weight = np.concatenate([q[own].T.reshape(-1) for own in cut])
    mantissa = np.concatenate([m[own].T.astype(np.int16).reshape(-1) for own in cut])
    return table, weight, mantissa


def _check_accumulators(
    name: str, table: NDArray[np.int64], weight: NDArray[np.int8], counts: NDArray[np.int32]
) -> None:
    """Exactly only where counts are so large that it might not fit."""
    starts = np.arange(0, counts.size, rows.GROUP)
    most = np.add.reduceat(np.abs(counts.astype(np.int64)), starts) * 127
    for lo in starts[most > rows.INT32_MAX].tolist():
        hi = min(lo + rows.GROUP, counts.size)
        for block in table:
            n, at = int(block[rows.NEURON_N]), int(block[rows.WEIGHT])
            own = weight[at + lo * n : at + hi * n].reshape(hi - lo, n)
            if np.abs(counts[lo:hi].astype(np.int64) @ own.astype(np.int64)).max() > rows.INT32_MAX:
                raise BadInput("an accumulator does not fit int32", where=name)

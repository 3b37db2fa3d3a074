"""Synapses of linears that are not plain, input by input: what a spike meets, and what it adds.

A spike is 0 or 1, and P = sum of m * A is linear in it, so every synapse can stand for what it adds
to P: m * q. That is a simulator's economy, not the chip's; the integers are the same. No sum of
them, and no accumulator of the chip's, can overflow: 65,536 inputs of 16 bits fit 32.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from compiler.graph import Linear
from compiler.program import Program
from hw_models.errors import BadInput
from simulator.hot import state as h

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


def joined(program: Program, linear: Linear) -> csr_array:
    """m * q of every stored synapse, int32 [n_post, n_pre], zeros among them.

    BadInput for a program without weights: its lists are not known.
    """
    if not program.has_weights:
        raise BadInput("its lists of synapses are not there", where=linear.name, fix="its weights")
    arrays = program.linears[linear.name]
    n_post, n_pre = linear.n_post, linear.n_pre
    if linear.listed is None:
        first, pre = np.arange(n_post + 1) * n_pre, np.tile(np.arange(n_pre), n_post)
    else:
        first, pre = np.asarray(arrays.first), np.asarray(arrays.pre)
    post = np.repeat(np.arange(n_post), np.diff(first))
    m = np.asarray(arrays.m, np.int32)[post, pre // linear.group]
    value = m * np.asarray(arrays.q, np.int32).ravel()
    return csr_array((value, pre, first), (n_post, n_pre))


def by_input(matrix: csr_array) -> tuple[I64, NDArray[np.uint16], I32]:
    """Where every input's synapses begin; their neurons, ascending, and what they add."""
    found = csc_array(matrix)
    found.sort_indices()
    return found.indptr.astype(np.int64), found.indices.astype(np.uint16), found.data


def lists_of_tiles(
    program: Program, task: I64, values: bool
) -> tuple[I64, NDArray[np.uint16], I32]:
    """Fixed.list_*: tiles that are not plain, input by input. Without values only how many.

    task: Fixed.task.
    """
    firsts, neurons, found = (
        [np.zeros(0, np.int64)],
        [np.zeros(0, np.uint16)],
        [np.zeros(0, np.int32)],
    )
    linear, matrix, at = -1, None, 0
    for i in np.flatnonzero(task[:, h.LIST] >= 0).tolist():
        if task[i, h.LINEAR] != linear:
            linear = int(task[i, h.LINEAR])
            matrix = joined(program, program.graph.linears[linear])
        lo, pre = int(task[i, h.NEURON_LO]), int(program.tables.task_pre[i])
        block = matrix[lo : lo + int(task[i, h.NEURON_N]), pre : pre + int(task[i, h.N_PRE])]
        first, neuron, value = by_input(block)
        firsts.append(at + first)
        at += value.size
        if values:
            neurons.append(neuron)
            found.append(value)
    return np.concatenate(firsts), np.concatenate(neurons), np.concatenate(found)

"""Weights and mantissas of tiles that store every pair, as the event engine reads them."""

import numpy as np
from numpy.typing import NDArray

from compiler.accounting import plain_tasks
from compiler.graph import GROUP
from compiler.program import TILE, Program
from simulator.hot import state as h

I64 = NDArray[np.int64]


def tile_arrays(program: Program, task: I64) -> tuple[NDArray[np.int8], NDArray[np.int16]]:
    """Weights [axon, neuron] and mantissas [group, neuron] of every tile, one after another.

    A crossbar's weights are its cells: no bytes here.
    """
    t, linears = program.tables, program.graph.linears
    tiles = np.flatnonzero((t.task_kind == TILE) & plain_tasks(program))
    sizes = task[tiles, h.N_PRE] * task[tiles, h.NEURON_N]
    digital = program.chip.array is None
    weight = np.zeros(int(sizes.sum()) if digital else 0, np.int8)
    mantissa = np.zeros(int((task[:, h.GROUPS] * task[:, h.NEURON_N]).sum()), np.int16)
    for i in tiles:
        arrays = program.linears[linears[t.task_linear[i]].name]
        lo, n = int(t.task_neuron_lo[i]), int(t.task_neuron_n[i])
        pre, n_pre, groups = int(t.task_pre[i]), int(t.task_n_pre[i]), int(task[i, h.GROUPS])
        at = task[i, h.WEIGHT]
        if digital:
            weight[at : at + n_pre * n] = arrays.q[lo : lo + n, pre : pre + n_pre].T.reshape(-1)
        first, at = pre // GROUP, task[i, h.MANTISSA]
        m = arrays.m[lo : lo + n, first : first + groups]
        mantissa[at : at + groups * n] = m.T.reshape(-1)
    if digital:  # what lies in tiles need not lie in memory as the program has it, too
        for arrays in program.linears.values():
            arrays.release()
    return weight, mantissa

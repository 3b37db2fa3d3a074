"""Crossbar cores laid out for the engine: constants, and the programmed cells of every tile."""

import numpy as np
from numpy.typing import NDArray

from compiler.program import TILE, Program
from hw_models.chip import Array
from kernels.crossbar import GROUP, Cells, cells
from simulator.hot import state as h

I64 = NDArray[np.int64]

UNBOUNDED = 1 << 62
"""Largest code of an ideal converter."""


def array_constants(program: Program) -> I64:
    """Fixed.array; no entries for cores that add spike by spike."""
    array = program.chip.array
    if array is None:
        return np.zeros(0, np.int64)
    synapses = sum(linear.n_pre * linear.n_post for linear in program.graph.linears)
    return constants(array, synapses * array.columns_per_weight)


def constants(array: Array, flips: int) -> I64:
    """An array's constants, columns as named in hot.state; flips: where they begin in the cells."""
    return np.array(
        [
            array.rows,
            array.rows_at_once,
            array.neurons,
            array.columns_per_weight,
            array.bits_per_cell,
            array.pairs,
            array.dac_bits,
            (1 << array.adc_bits) - 1 if array.adc_bits else UNBOUNDED,
            array.adc_step if array.adc_bits else 1,
            array.step_ps,
            flips,
        ],
        np.int64,
    )


def programmed(program: Program, linear: int) -> Cells:
    """All cells of one linear, however it is cut."""
    name = program.graph.linears[linear].name
    return cells(np.asarray(program.linears[name].q), program.chip.array, linear)


def crossbar_cells(program: Program, task: I64) -> NDArray[np.uint16]:
    """Fixed.cell: levels [axon, column, neuron] of every tile one after another, then their flips
    [row block, column, neuron]; empty for cores that add spike by spike."""
    array, t = program.chip.array, program.tables
    if array is None:
        return np.zeros(0, np.uint16)
    tiles = np.flatnonzero(t.task_kind == TILE)
    columns, per_group = array.columns_per_weight, GROUP // array.rows_at_once
    neurons = task[tiles, h.NEURON_N]
    n_levels = int((task[tiles, h.N_PRE] * neurons).sum()) * columns
    n_flips = int((task[tiles, h.GROUPS] * neurons).sum()) * columns * per_group
    found = np.zeros(n_levels + n_flips, np.uint16)
    for linear in range(len(program.graph.linears)):
        held = programmed(program, linear)
        for i in tiles[t.task_linear[tiles] == linear]:
            lo, pre = int(t.task_neuron_lo[i]), int(t.task_pre[i])
            own = slice(lo, lo + int(t.task_neuron_n[i]))
            level = held.level[:, own, pre : pre + int(t.task_n_pre[i])]
            at = int(task[i, h.WEIGHT]) * columns
            found[at : at + level.size] = level.transpose(2, 0, 1).reshape(-1)
            first = pre // array.rows_at_once
            flip = held.flip[:, own, first : first + -(-level.shape[2] // array.rows_at_once)]
            at = n_levels + int(task[i, h.MANTISSA]) * columns * per_group
            found[at : at + flip.size] = flip.transpose(2, 0, 1).reshape(-1)
    return found

"""Cells as the engine has them: every tile's are its block of the linear's; nothing overlaps."""

import numpy as np
import pytest

from compiler.program import TILE
from kernels.crossbar import cells
from simulator.crossbar import array_constants
from simulator.hot import state as h
from simulator.machine import fixed_arrays, fresh_state
from tests.small import model
from tests.tiny import tiny

SMALL_CORES = {"array__per_core": "3", "array__noise": "3 %"}


def crossbar(target="isaac-like", **changed):
    """A small model in many tiles, along inputs and neurons."""
    from compiler.pipeline import compile_graph
    from hw_models.chip import load_chip

    graph, tensors, _ = model(0)
    keys = {k.replace("__", "."): v for k, v in (SMALL_CORES | changed).items()}
    return compile_graph(graph, tensors, load_chip(target, keys))


@pytest.fixture(
    scope="module",
    params=[("isaac-like", {}), ("isaac-like", {"array__rows_at_once": "32"}), ("hermes-like", {})],
)
def program(request):
    target, changed = request.param
    return crossbar(target, **changed)


def test_tiles_hold_their_block_of_the_linears_cells_axon_by_axon(program):
    fixed, t, array = fixed_arrays(program, 2), program.tables, program.chip.array
    columns, flips, seen = array.columns_per_weight, fixed.array[h.A_FLIPS], 0
    assert fixed.weight.size == 0
    for i in np.flatnonzero(t.task_kind == TILE):
        linear = int(t.task_linear[i])
        lo, n, pre, n_pre = (
            int(column[i])
            for column in (t.task_neuron_lo, t.task_neuron_n, t.task_pre, t.task_n_pre)
        )
        q = program.linears[program.graph.linears[linear].name].q
        own = cells(q[lo : lo + n, pre : pre + n_pre], array, linear, lo, pre)
        at = int(fixed.task[i, h.WEIGHT]) * columns
        found = fixed.cell[at : at + n_pre * columns * n].reshape(n_pre, columns, n)
        for axon in range(n_pre):
            for column in range(columns):
                assert found[axon, column].tolist() == own.level[column, :, axon].tolist()
        blocks = own.flip.shape[2]
        at = flips + int(fixed.task[i, h.MANTISSA]) * columns * (128 // array.rows_at_once)
        found = fixed.cell[at : at + blocks * columns * n].reshape(blocks, columns, n)
        assert (found == own.flip.transpose(2, 0, 1)).all()
        seen += n_pre * n
    assert seen * columns == flips == sum(a.q.size for a in program.linears.values()) * columns


@pytest.mark.parametrize("slots", [1, 2])
def test_counts_of_tiles_and_slots_do_not_overlap(program, slots):
    fixed = fixed_arrays(program, slots)
    state = fresh_state(program, fixed, 0, False, 4)
    taken = np.zeros(state.inputs.size, int)
    for row in fixed.task[fixed.task[:, h.KIND] == h.TILE]:
        taken[row[h.SUMS] : row[h.SUMS] + slots * row[h.N_PRE]] += 1
    assert taken.tolist() == [1] * taken.size


def test_constants_are_those_of_the_target():
    a = array_constants(tiny(target="hermes-like"))
    assert a[[h.A_ROWS, h.A_AT_ONCE, h.A_NEURONS, h.A_COLUMNS]].tolist() == [256, 128, 256, 2]
    assert a[[h.A_BITS, h.A_PAIRS, h.A_DAC_BITS]].tolist() == [7, 1, 4]
    assert a[[h.A_LARGEST, h.A_ADC_STEP, h.A_STEP_PS]].tolist() == [4095, 60, 260_000]
    ideal = array_constants(tiny(target="hermes-like", array__adc_bits="ideal"))
    assert ideal[h.A_ADC_STEP] == 1 and ideal[h.A_LARGEST] > 2**60


def test_a_digital_program_has_no_cells():
    fixed = fixed_arrays(tiny(), 1)
    assert fixed.array.size == fixed.cell.size == 0

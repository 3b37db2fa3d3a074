"""The tables say what the passes decided, and whatever is sent is awaited."""

from dataclasses import fields, replace

import numpy as np
import pytest

from compiler.passes.schedule import op_names, schedule, static_work, verify
from compiler.program import HOST, TILE, VECTOR, Tables
from hw_models.errors import Bug
from hw_models.events import KINDS
from tests.tiny import changed
from tests.tiny import tiny as tiny_program


@pytest.fixture(scope="module")
def tables(tiny):
    return schedule(
        tiny.graph, tiny.flow, tiny.packed, tiny.placed, tiny.trees, tiny.tables, tiny.chip
    )


def test_needs_off_by_one_and_lost_sinks(tiny, tables):
    verify(tables, tiny.graph)
    program = tiny_program()
    for task in range(0, tables.task_need.size, 9):
        for by in (-1, 1):
            cells = {task: program.tables.task_need[task] + by}
            with pytest.raises(Bug, match=f"task {task} awaits"):
                verify(changed(program, task_need=cells).tables, tiny.graph)
    for sink in range(0, tables.sink_task.size, 9):
        task = tables.sink_task[sink]
        cells = {sink: (task + 1) % tables.task_core.size}
        with pytest.raises(Bug, match="awaits"):
            sinks = changed(program, sink_task=cells).tables.sink_task
            verify(replace(tables, sink_task=sinks), tiny.graph)


def test_a_stripe_that_awaits_another_token(tiny, tables):
    for task in np.flatnonzero(tables.task_extra > 0):
        residue = tables.task_residue.copy()
        residue[task] = 1 - residue[task]
        with pytest.raises(Bug, match="awaits"):
            verify(replace(tables, task_residue=residue), tiny.graph)


def test_every_task_and_net_has_its_row(tiny, tables):
    assert tables.task_core.size == len(tiny.flow.tasks)
    assert tables.emit_tree.tolist() == sorted(
        range(len(tiny.flow.nets)), key=lambda i: (tiny.flow.nets[i].source, i)
    )
    for i, task in enumerate(tiny.flow.tasks):
        kind = HOST if task.on_host else TILE if task.tile is not None else VECTOR
        assert tables.task_kind[i] == kind
        assert op_names(tiny.graph)[tables.task_op[i]] == task.op
        rows = np.flatnonzero((tables.work_task == i) & (tables.work_ring == 0))
        listed = {list(KINDS)[tables.work_kind[r]]: int(tables.work_count[r]) for r in rows}
        assert listed == static_work(task)[0]
    dtypes = {f.name: getattr(tables, f.name).dtype for f in fields(Tables)}
    assert {str(d) for d in dtypes.values()} == {"int8", "int32", "int64"}


def test_a_task_takes_the_time_its_work_takes(tiny, tables):
    """update_ps 7 ns, encode_ps 11 ns, vector_ps 0.5 ns, as the toy chip says."""
    for i, task in enumerate(tiny.flow.tasks):
        neurons = task.tile.n_post if task.tile else (task.neurons or (0, 0))[1]
        channels = (task.channels or (0, 0))[1]
        vectors = sum(n for kind, n in task.work.items() if kind.startswith("vec_"))
        time_ps = 7000 * neurons + 11000 * channels + 500 * vectors
        assert tables.task_ps[i] == (0 if task.on_host else time_ps)

"""No table that our compiler did not write reaches the engine: it is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.audit.tables import check_tables
from compiler.audit.trees import tree_of_sink
from compiler.program import SPIKE, TILE, VECTOR, Tables
from hw_models.errors import BadInput, SpikeloomError
from simulator import drive
from tests.small import assert_equal, reference
from tests.tiny import TINY, changed, tiny

TOKENS = (3, 17)
COLUMNS = tuple(Tables.__slots__)


@pytest.mark.parametrize("target", ["toy", "loihi-like"])
@pytest.mark.parametrize("coding", ["ternary", "bitwise", "graded"])
def test_what_the_compiler_writes_is_accepted(target, coding):
    check_tables(tiny(coding, target))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_another_length(name):
    column = getattr(tiny().tables, name)
    for wrong in (column[:-1], np.concatenate([column, column[-1:]]), column[:0]):
        tables = replace(tiny().tables, **{name: wrong})
        with pytest.raises(BadInput):
            check_tables(replace(tiny(), tables=tables))


NO_SUCH = {
    "task_core": (-1, 10**6),
    "task_kind": (-1, 3),
    "task_op": (-1, 99),
    "task_gathers": (-2, 99),
    "task_linear": (-2, 99),
    "task_site": (-2, 99),
    "task_neuron_lo": (-1, 10**6),
    "task_neuron_n": (-1, 10**6),
    "task_channel_lo": (-1, 10**6),
    "task_channel_n": (-1, 10**6),
    "task_period": (0, -1),
    "task_window": (-1,),
    "task_ps": (-1,),
    "task_ring_ps": (-1,),
    "task_emit": (-1, 10**6),
    "emit_tree": (-1, 10**6),
    "emit_class": (-1, 3),
    "emit_lo": (-1, 10**6),
    "emit_n": (0, 10**6),
    "tree_root": (-2, 10**6),
    "tree_source": (-1, 10**6),
    "tree_task": (-1, 10**6),
    "node_link": (-1, 10**9),
    "sink_core": (-1, 10**6),
    "sink_task": (-1, 10**6),
    "work_task": (-1, 10**6),
    "work_kind": (-1, 10**6),
    "work_count": (-1,),
}


@pytest.mark.parametrize("name", sorted(NO_SUCH))
def test_an_entry_that_cannot_be(name):
    size = getattr(tiny().tables, name).size
    for row in (0, size // 2, size - 1):
        for value in NO_SUCH[name]:
            if name in ("emit_lo", "emit_n") and tiny().tables.emit_class[row] == 2 and value > 0:
                continue  # values are not channels of anything
            with pytest.raises(BadInput):
                check_tables(changed(tiny(), **{name: {row: value}}))


def test_an_encoder_that_its_own_stage_waits_for():
    """The stage would be computed behind the spikes of its counts."""
    encoder = int(np.flatnonzero(tiny().tables.task_channel_n > 0)[0])
    stage = next(i for i, s in enumerate(tiny().graph.stages)
                 if s.name == tiny().ops[tiny().tables.task_op[encoder]])  # fmt: skip
    with pytest.raises(BadInput, match="before its stage is computed"):
        check_tables(changed(tiny(), task_gathers={encoder: stage}))


def test_an_error_names_the_task():
    name = "layers.0.gate_up[0,0]"
    task = tiny().task_names.index(name)
    with pytest.raises(BadInput, match="axons beyond the linear") as caught:
        check_tables(changed(tiny(), task_n_pre={task: 33}))
    assert caught.value.where == name
    assert caught.value.fix == "compile it again"


def test_spikes_go_to_tiles_and_nothing_else_does():
    t = tiny().tables
    tree_of = dict(enumerate(tree_of_sink(t).tolist()))
    tile, vector = (int((t.task_kind == kind).argmax()) for kind in (TILE, VECTOR))
    classes = {int(tree): int(kind) for tree, kind in zip(t.emit_tree, t.emit_class, strict=True)}
    for sink, tree in tree_of.items():
        other = vector if classes[tree] == SPIKE else tile
        with pytest.raises(BadInput):
            check_tables(changed(tiny(), sink_task={sink: other}))
    sink = next(sink for sink, tree in tree_of.items() if classes[tree] == SPIKE)
    with pytest.raises(BadInput, match="spikes go to tiles or the host"):
        check_tables(changed(tiny(), sink_task={sink: vector}))


def run(program):
    simulation = drive.Simulation(program, keep_sums=True)
    for token in TOKENS:
        simulation.start(token, 0)
    for _ in simulation.advance():
        assert simulation.events < 10**5, "a hang"
    return simulation


@settings(
    max_examples=150,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(
    name=st.sampled_from([c for c in COLUMNS if c not in ("task_ps", "task_ring_ps")]),
    row=st.integers(0, 10**6),
    value=st.one_of(st.integers(-3, 130), st.integers(-(2**31), 2**31 - 1)),
)
def test_any_entry_changed_in_any_way_is_refused_found_out_or_harmless(name, row, value):
    """Harmless: every count, sum and logit is still that of the canonical executor."""
    column = getattr(tiny().tables, name)
    cell = {row % column.size: value & 127 if column.dtype == np.int8 else value}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "BATCH", 1000)
        try:
            simulation = run(changed(tiny(), **{name: cell}))
        except SpikeloomError:
            return
    assert_equal(simulation, reference(0, TINY, TOKENS))

"""Finite link buffers change times, and nothing else; buffers never full change nothing at all."""

import numpy as np
import pytest

from compiler.accounting import counters, tree_facts
from compiler.pipeline import compile_model
from hw_models.events import LINKS
from simulator.counters import buffers_of, check_conservation, snapshot
from simulator.drive import Simulation
from tests import experts
from tests.buffers import smallest, with_buffers
from tests.small import assert_equal, decoded, prefilled, reference
from tests.spiking import affine, fired, lif, random_spikes, written
from tests.tiny import TINY, tiny

CODINGS = ("ternary", "bitwise", "graded")
TEXT = (3, 17, 17, 8, 0, 19)


LARGE = dict.fromkeys(LINKS, 10**12)


def counted(program, simulation):
    """Counters, without the updates of neurons under barrier sync: there are some in every step."""
    facts = tree_facts(program)
    check_conservation(program, facts, simulation.state)
    found = counters(program, facts, snapshot(simulation.state))
    left_out = {"neuron_update"} if simulation.steps else set()
    return {op: {k: n for k, n in c.items() if k not in left_out} for op, c in found.items()}


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("coding", CODINGS)
def test_the_smallest_buffers_change_no_value_and_no_counter(coding, sync):
    free = tiny(coding)
    tight = with_buffers(free, smallest(free))
    wanted, simulation = prefilled(free, TEXT, sync=sync), prefilled(tight, TEXT, sync=sync)
    assert_equal(simulation, reference(0, TINY, TEXT))
    assert_equal(decoded(tight, TEXT, sync=sync), reference(0, TINY, TEXT))
    assert counted(tight, simulation) == counted(free, wanted)
    use = buffers_of(tight, simulation.state)
    assert sum(u.stalled_ps for u in use.links.values()) > 0
    assert simulation.found.logits_ps != wanted.found.logits_ps
    for name, kind in use.links.items():
        assert 0 < kind.high_water_flits <= smallest(free)[name] == kind.flits


def ran(program, inputs, **options):
    """A simulation of all inputs at once, and its trace in order."""
    rows = []
    simulation = Simulation(program, trace=rows.append, in_flight=len(inputs), **options)
    for one in inputs:
        simulation.start(one, 0)
    for _ in simulation.advance():
        pass
    simulation.flush_trace()
    table = np.concatenate(rows)
    return simulation, table[np.lexsort(table.T)]


def alike(free, inputs, **options):
    """Without an end, never full, and exactly as large as ever needed: one and the same run."""
    wanted, told = ran(free, inputs, **options)
    never_full = ran(with_buffers(free, LARGE), inputs, **options)[0]
    use = buffers_of(never_full.program, never_full.state)
    assert not any(kind.stalled_ps for kind in use.links.values())
    marks = {name: kind.high_water_flits for name, kind in use.links.items()}
    assert all(marks.values())
    exact, traced = ran(with_buffers(free, marks), inputs, **options)
    for simulation in (never_full, exact):
        assert simulation.found.logits_ps == wanted.found.logits_ps
        assert (simulation.events, simulation.steps) == (wanted.events, wanted.steps)
        for name in ("core", "link", "progress", "got", "tree_sent", "sink_got"):
            found, other = getattr(simulation.state, name), getattr(wanted.state, name)
            np.testing.assert_array_equal(found[:, : other.shape[1]], other, name)
    np.testing.assert_array_equal(traced, told)
    return use


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("coding", CODINGS)
def test_buffers_of_the_high_water_mark_are_buffers_without_an_end(coding, sync, slots):
    use = alike(tiny(coding), TEXT, sync=sync, slots=slots)
    assert use.injection_high_water > 1 and use.ejection_high_water > 1


def test_so_they_are_where_only_some_links_have_an_end():
    some = with_buffers(tiny(), {"x": LARGE["x"], "chip_x": LARGE["x"]})
    assert ran(some, TEXT)[0].found.logits_ps == ran(tiny(), TEXT)[0].found.logits_ps


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_so_they_are_of_experts(sync):
    alike(experts.program("two of five"), experts.TEXT, sync=sync)


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_so_they_are_of_spiking_neurons(tmp_path, sync):
    path = written(
        tmp_path / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3, gain=3), fired(4)
    )
    alike(compile_model(path, "toy"), random_spikes(12, 30), sync=sync)

"""Counts are sums of what happened: they add up over time and notice what got lost."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from compiler.accounting import counters, tree_facts
from compiler.program import PARTIAL, SPIKE, VALUE
from hw_models.errors import Bug
from hw_models.events import KINDS, LINKS
from simulator.counters import check_conservation, snapshot
from simulator.drive import Simulation
from simulator.hot.state import FLITS
from tests.tiny import tiny

FACTS = tree_facts(tiny())


def run(*texts):
    """Snapshots after each text, and the simulation."""
    simulation = Simulation(tiny())
    seen = [snapshot(simulation.state)]
    for text in texts:
        for token in text:
            simulation.start(token, simulation.now_ps)
        for _ in simulation.advance():
            pass
        seen.append(snapshot(simulation.state))
    return seen, simulation


@pytest.fixture(scope="module")
def three():
    return run((3, 17), (8,), (0, 19, 3))


def test_phases_add_up_to_the_whole(three):
    seen, _ = three
    parts = [counters(tiny(), FACTS, b.since(a)) for a, b in pairwise(seen)]
    whole = counters(tiny(), FACTS, seen[-1])
    for op in tiny().ops:
        for kind in KINDS:
            total = sum(part.get(op, {}).get(kind, 0) for part in parts)
            assert total == whole.get(op, {}).get(kind, 0), (op, kind)


def test_nothing_has_happened_before_the_first_token(three):
    assert counters(tiny(), FACTS, three[0][0]) == {}


def test_counts_have_known_names_are_positive_and_sorted(three):
    found = counters(tiny(), FACTS, three[0][-1])
    assert list(found) == sorted(found)
    for op, kinds in found.items():
        assert op in tiny().ops
        assert list(kinds) == sorted(kinds)
        assert set(kinds) <= set(KINDS)
        assert all(isinstance(n, int) and n > 0 for n in kinds.values())


def test_a_snapshot_is_not_moved_by_what_happens_later():
    simulation = Simulation(tiny())
    simulation.start(3, 0)
    before = snapshot(simulation.state)
    kept = {f.name: getattr(before, f.name).copy() for f in dataclasses.fields(before)}
    for _ in simulation.advance():
        pass
    for name, array in kept.items():
        assert (getattr(before, name) == array).all()


def test_facts_of_trees_are_those_of_the_dataflow():
    t = tiny().tables
    assert (FACTS.message[t.emit_tree] == t.emit_class).all()
    assert (FACTS.n[t.emit_tree] == t.emit_n).all()
    local = t.tree_last_local - t.tree_first_local
    assert FACTS.fan_out.sum() + local.sum() == t.sink_core.size
    assert (FACTS.tree_of_sink < 0).sum() == local.sum()
    # a tree has one link to leave its core by, and the host's only where the host takes part
    first = LINKS.index("local")
    hosted = t.tree_source == tiny().host_core
    assert (FACTS.links[:, first] == ((t.tree_root >= 0) & ~hosted)).all()
    to_host = np.isin(t.tree_task, t.tree_task[hosted]) | np.isin(
        np.arange(t.tree_root.size), FACTS.tree_of_sink[t.sink_core == tiny().host_core]
    )
    assert ((FACTS.links[:, LINKS.index("host")] > 0) == to_host).all()


def test_a_sound_run_conserves(three):
    check_conservation(tiny(), FACTS, three[1].state)


@pytest.mark.parametrize(
    ("code", "name"), [(SPIKE, "spike"), (PARTIAL, "partial"), (VALUE, "value"), (3, "marker")]
)
@pytest.mark.parametrize("by", [-1, 1])
def test_one_delivery_too_few_or_too_many_is_named(three, code, name, by):
    state = three[1].state
    carried = state.tree_sent[FACTS.tree_of_sink, code] * (FACTS.tree_of_sink >= 0)
    sink = int(np.flatnonzero(carried)[-1])
    state.sink_got[sink, code] += by
    try:
        with pytest.raises(Bug, match=rf"\d+ {name} messages sent to \d+ cores") as caught:
            check_conservation(tiny(), FACTS, state)
    finally:
        state.sink_got[sink, code] -= by
    tree = int(FACTS.tree_of_sink[sink])
    sender = tiny().task_names[tiny().tables.tree_task[tree]]
    assert caught.value.where == f"tree {tree} of {sender}"


@pytest.mark.parametrize("kind", [k for k in LINKS if k != "chip_y"])
def test_a_flit_lost_on_any_kind_of_link_is_told(three, kind):
    state = three[1].state
    link = int(np.flatnonzero(tiny().tables.link_kind == LINKS.index(kind))[0])
    state.link[link, FLITS] -= 1
    try:
        with pytest.raises(Bug, match=f"{kind} links carried"):
            check_conservation(tiny(), FACTS, state)
    finally:
        state.link[link, FLITS] += 1

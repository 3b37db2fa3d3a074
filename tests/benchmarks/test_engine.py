"""The engine's benchmark runs at its smallest size and counts what happened."""

import pytest

from benchmarks import engine
from compiler.accounting import counters, tree_facts
from simulator.counters import snapshot
from simulator.drive import Simulation
from tests.tiny import tiny


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_both_targets_and_phases_are_measured(sync):
    rows = engine.measure(tokens=2, repetitions=1, sync=sync)
    assert [(r["target"], r["phase"], r["tokens"]) for r in rows] == [
        ("loihi-like", "prefill", 2),
        ("loihi-like", "decode", 2),
        ("toy", "prefill", 1),
        ("toy", "decode", 1),
    ]
    for row in rows:
        for column in engine.COLUMNS:
            assert row[f"{column}/s"] * row["seconds"] == pytest.approx(row[column]) != 0
        assert row["messages"] < row["deliveries"] < row["events"]


def test_synops_are_those_of_the_counters():
    program = tiny()
    simulation = Simulation(program)
    for token in (3, 1, 4):
        simulation.start(token, 0)
    engine.finish(simulation)
    found = counters(program, tree_facts(program), snapshot(simulation.state))
    synops = sum(n for kinds in found.values() for kind, n in kinds.items() if "synop" in kind)
    assert engine.counts(simulation)["synops"] == synops > 0

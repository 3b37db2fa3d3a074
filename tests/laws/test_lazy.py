"""Decays of silent channels wait: no value changes, and the state is counted by touched rows."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from compiler.pipeline import compile_graph
from hw_models.chip import load_chip
from simulator.api import simulate
from simulator.run_folder import read_activity
from simulator.workload import profile, replay
from tests.small import TEXT, assert_equal, decoded, model, prefilled, reference

HEADS, D = 6, 32
KINDS = ("state_read", "state_write", "vec_mul", "vec_add")
CORES = {
    "whole": {},  # a head's state on one core
    "shared": {"core.state_memory": "32 KiB"},  # several heads of a group
    "split": {"core.state_memory": "5 KiB"},  # a head by value columns
}


@cache
def program(most=8, cores="whole"):
    graph, tensors, _ = model(0)
    return compile_graph(
        graph, tensors, load_chip("toy", CORES[cores] | {"core.pending_decays": str(most)})
    )


@cache
def parts(most, cores):
    """Cores that hold columns of one head, from their names."""
    tasks = [
        name for name in program(most, cores).task_names if name.startswith("layers.0.gla[head")
    ]
    return max(1, sum(".part" in name for name in tasks) // HEADS)


def of_gla(run):
    """State and vector counts of the one GLA stage over all phases."""
    found = Counter()
    for phase in run.phases:
        found.update({k: n for k, n in phase.counters["layers.0.gla"].items() if k in KINDS})
    return found


def ran(most, cores, folder, **options):
    given = options or {"prompt": TEXT, "tokens": 4}
    return simulate(program(most, cores), out=folder, **given)


def accesses(marks, most, cores):
    """What one token after the other reads, writes and multiplies, row by row."""
    found, late = Counter(), Counter()
    for token in marks:
        for row, mark in enumerate(token.reshape(-1).tolist()):
            if mark == 0 and late[row] < most:
                late[row] += 1
                found["state_write"] += 4 * parts(most, cores)  # the decay
                continue
            found["state_read"] += 4 * D + 4 * parts(most, cores) * late[row]
            found["state_write"] += 4 * D
            found["vec_mul"] += D * (late[row] + 1)
            late[row] = 0
            if mark & 2 or most == 0:  # k v is added
                found.update(vec_mul=D, vec_add=D)
            if mark & 1 or most == 0:  # and read by q
                found.update(vec_mul=D, vec_add=D)
    return found


@pytest.mark.parametrize("most", [0, 1, 3])
def test_values_are_the_eager_ones(most):
    assert_equal(prefilled(program(most)), reference(0))
    assert_equal(decoded(program(most)), reference(0))


@pytest.mark.parametrize(("most", "cores"), [(1, "whole"), (3, "shared"), (3, "split")])
def test_the_state_is_counted_by_touched_rows(most, cores, tmp_path):
    eager, lazy = ran(0, cores, tmp_path / "eager"), ran(most, cores, tmp_path / "lazy")
    marks = read_activity(tmp_path / "lazy").active["layers.0.gla"]
    assert 0.05 < np.mean([m == 0 for m in marks]) < 0.95
    lost = of_gla(eager)
    lost.subtract(of_gla(lazy))
    wanted = accesses(marks, 0, cores)
    assert wanted["state_read"] == 4 * D * D * HEADS * len(marks)
    wanted.subtract(accesses(marks, most, cores))
    assert lost == wanted and min(lost.values()) > 0


def test_cases_are_what_they_are_for():
    assert parts(3, "whole") == parts(3, "shared") == 1 < parts(3, "split")
    heads = {
        c: sum(n.endswith("]") and "gla[head" in n for n in program(3, c).task_names) for c in CORES
    }
    assert heads["shared"] < heads["whole"]


def test_nothing_is_counted_more_where_no_channel_is_silent(tmp_path):
    def counts(most):
        drawn = profile(program(most), prompt=3, tokens=3)
        return of_gla(ran(most, "whole", tmp_path / str(most), workload=drawn))

    assert counts(0) == counts(3)


def test_an_activity_is_replayed_with_any_number_of_pending_decays(tmp_path):
    ran(0, "whole", tmp_path / "eager")
    lazy = ran(3, "whole", tmp_path / "lazy")
    told = replay(program(3), read_activity(tmp_path / "eager"))
    again = ran(3, "whole", tmp_path / "again", workload=told)
    assert again.phases == lazy.phases


def test_pending_decays_are_charged_to_state_memory():
    """A float32 each, and a byte that counts them, per head and key channel."""
    held = [int(program(most).tables.task_state.sum()) for most in (0, 3, 8)]
    assert held[1] - held[0] == HEADS * D * (4 * 3 + 1)
    assert held[2] - held[0] == HEADS * D * (4 * 8 + 1)

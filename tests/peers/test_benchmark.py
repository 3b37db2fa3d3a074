"""The benchmark beside SANA-FE measures what is equal, and refuses what is not."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import sanafe
from tests.peers.sana_fe import PYTHON, Priced

ONES = Priced(*(np.ones(2, np.int64) for _ in Priced.__slots__))


def told(**changes):
    counts = {"spikes": 2, "packets_sent": 2, "neurons_updated": 2, "neurons_fired": 2}
    run = {"counts": counts, "energy_j": {"total": 6e-15}, "sim_time_s": 5e-12}
    return {"simple": run | changes}


@pytest.mark.skipif(not PYTHON.exists(), reason="make test-sanafe installs SANA-FE")
def test_a_row_is_measured_on_both_sides(monkeypatch):
    small = {"sizes": (140, 96), "steps": 4, "memory": "8 KiB"}
    monkeypatch.setitem(sanafe.ROWS, "small", small)
    row = sanafe.measure("small", repetitions=1)
    for there, here, ratio in (
        ("simple_s", "ours_s", "times"),
        ("detailed_s", "ours_queued_s", "times_queued"),
    ):
        assert row[ratio] == pytest.approx(row[there] / row[here]) and row[here] > 0
    assert row["step_us"]["ours"] == pytest.approx(row["step_us"]["simple"])
    assert row["event_engine_s"] > 0 and row["run_s"] > 0
    assert f"| small | {row['cores']} |" in sanafe.table([row])


def test_another_count_energy_or_time_ends_it():
    sanafe.check(ONES, 5, told())
    counts = told()["simple"]["counts"]
    for changes in (
        {"counts": counts | {"spikes": 3}},
        {"energy_j": {"total": 6.0001e-15}},
        {"sim_time_s": 5.0001e-12},
    ):
        with pytest.raises(SystemExit, match="here"):
            sanafe.check(ONES, 5, told(**changes))
    with pytest.raises(SystemExit):
        sanafe.check(replace(ONES, fired=2 * ONES.fired), 5, told())

"""When closed tiles are summed, and by how many threads, changes nothing that a run tells."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hw_models.errors import DoesNotFit
from simulator import adders, drive, machine
from simulator.api import simulate
from simulator.carried import carried, restore
from simulator.drive import Simulation
from simulator.hot import state as h
from simulator.run_folder import PROVENANCE, read_run
from tests.tiny import tiny

SYNCS = ("dataflow", "barrier")
TEXT = (3, 17, 17, 0, 8, 5)
RUNS = {"1": (1, 256), "2": (2, 256), "4": (4, 256), "4, nine tiles at once": (4, 9)}
"""Threads, and the most tiles that are put off."""


def run_both(out, most):
    """Prompt and decoded tokens under both syncs; every batch is worth several threads."""
    machine.TOGETHER, machine.MOST_CLOSED = 1, most
    for sync in SYNCS:
        simulate(tiny(), prompt=TEXT, tokens=4, sync=sync, trace=True, out=Path(out) / sync)


@pytest.fixture(scope="module")
def folders(root, tmp_path_factory):
    """By name: folders of processes with so many threads, whatever the machine has."""
    made = tmp_path_factory.mktemp("threads")
    for name, (threads, most) in RUNS.items():
        out = str(made / name)
        code = f"from tests.laws.test_threads import run_both; run_both({out!r}, {most})"
        environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
        command = [sys.executable, "-c", code]
        subprocess.run(command, cwd=root, env=environment, check=True)
    return {name: made / name for name in RUNS}


@pytest.mark.parametrize("sync", SYNCS)
def test_run_folders_are_the_same_bytes_whatever_the_threads(folders, sync):
    found = []
    for made in folders.values():
        read_run(made / sync)
        found.append({p.name: p.read_bytes() for p in (made / sync).iterdir()})
        del found[-1][PROVENANCE]
    assert {"run.json", "events.parquet", "activity.parquet"} <= set(found[0])
    assert found[1:] == found[:1] * (len(RUNS) - 1)


def started(sync, monkeypatch, threads=1, most=256):
    for module in (adders, machine):
        monkeypatch.setattr(module, "threads", lambda: threads)
    monkeypatch.setattr(machine, "TOGETHER", 1)
    monkeypatch.setattr(machine, "MOST_CLOSED", most)
    simulation = Simulation(tiny(), sync=sync, in_flight=len(TEXT))
    for token in TEXT:
        simulation.start(token, 0)
    return simulation


@pytest.mark.parametrize("bits", [8, 12, 14])
@pytest.mark.parametrize("sync", SYNCS)
def test_the_sum_that_is_too_wide_is_the_one_that_is_found_when_no_tile_waits(
    sync, bits, monkeypatch
):
    """With room for no more than a closing, a tile is summed before the next event."""
    told = []
    for threads, most in ((1, 1), (1, 256), (2, 256)):
        simulation = started(sync, monkeypatch, threads, most)
        simulation.fixed.linear[:, h.L_BITS] = bits
        with pytest.raises(DoesNotFit, match="too wide") as caught:
            list(simulation.advance())
        told.append((str(caught.value), caught.value.where))
    assert told[1:] == told[:1] * 2


@pytest.mark.parametrize("sync", SYNCS)
def test_what_is_put_off_where_a_run_is_kept_is_there_when_it_goes_on(sync, monkeypatch):
    monkeypatch.setattr(drive, "BATCH", 7)
    simulation, kept = started(sync, monkeypatch), []

    def pause():
        if simulation.state.reg[h.R_CLOSED] > 3 and not kept:
            kept.append(carried(simulation))
            kept.append(started(sync, monkeypatch))
            restore(kept[1], kept[0])

    simulation.pause = pause
    list(simulation.advance())
    other = kept[1]
    list(other.advance())
    for name, array in simulation.state._asdict().items():
        if not name.startswith("closed"):
            assert np.array_equal(array, getattr(other.state, name)), name
    logits = simulation.found.logits
    assert all((other.found.logits[token] == logits[token]).all() for token in other.found.logits)

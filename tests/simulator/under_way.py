"""Runs that end anywhere: what is run, and what is left of it."""

import os
import subprocess
import time
from pathlib import Path

from simulator.drive import Simulation
from simulator.run_folder import PROVENANCE, UNDER_WAY, read_run
from simulator.tracing import Tracing
from simulator.workload import profile, replay
from tests.experts import TEXT
from tests.experts import program as experts
from tests.spiking import random_spikes
from tests.tiny import tiny

ROOT = Path(__file__).resolve().parents[2]
PROMPT = bytes((3, 17, 8))
SPIKES = random_spikes(40, steps=70, seed=3)  # more steps than are under way at once
TRACES = {
    "none": False,
    "spike": True,
    "first": Tracing("spike", max_events=500),
    "core": Tracing("core", "1:4", 90),
    "chip": Tracing("chip", "200ns:"),
}


class Killed(BaseException):
    """Nothing of ours catches it."""


def contents(folder):
    """Bytes of every file but the provenance; and that the run is whole."""
    read_run(folder)
    assert not (folder / UNDER_WAY).exists()
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != PROVENANCE}


def asked(kind, neurons, sync, trace):
    if kind == "experts":
        options = {"prompt": TEXT[:5], "tokens": 2, "sync": sync, "trace": TRACES[trace]}
        return experts("two of five"), options
    if kind == "replay":
        return tiny(), {"workload": replay(tiny(), spiked()), "sync": sync, "trace": TRACES[trace]}
    if kind == "profile":
        counts = profile(experts("two of five"), seed=3, prompt=5, tokens=3)
        return experts("two of five"), {"workload": counts, "sync": sync, "trace": TRACES[trace]}
    if kind == "text":
        return tiny(), {"prompt": PROMPT, "tokens": 4, "sync": sync, "trace": TRACES[trace]}
    return neurons, {"spikes": SPIKES, "sync": sync, "trace": TRACES[trace]}


def spiked():
    """What `tiny` spikes for the prompt and a token."""
    simulation = Simulation(tiny(), first_logits=len(PROMPT) - 1)
    for token in (*PROMPT, 5):
        simulation.start(token, 0)
    for _ in simulation.advance():
        pass
    return simulation.found.activity


class Forked:
    """A process that has all that this one has, and does one thing; much of subprocess.Popen."""

    def __init__(self, work):
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > end:
                raise subprocess.TimeoutExpired("forked", seconds)
            time.sleep(0.001)
        return self.returncode

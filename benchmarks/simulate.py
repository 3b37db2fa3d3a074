"""How fast the simulator is, against its goals: python -m benchmarks.simulate [--json]

Links: messages over a mesh with contention, one thread, without an event queue (simulator.noc):
every arrival at a core and the state of every link. Building trees and messages, and
compilation by Numba, are left out; the best of some runs. What comes out is the event queue's to
the picosecond (tests/simulator/hot/test_noc.py, tests/benchmarks/test_simulate.py).

Token: SpikingBrain-7B on a Hala-Point-class system, profile workload: one token in decode, every
message through the links with contention, counters on; in a process of its own, after a token of
prefill (compilation by Numba is left out). Memory is the largest resident set of that process.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compile import ROOT
from benchmarks.goal import Goal
from benchmarks.mesh import Traffic, Trees, arrivals, multicasts, traffic, unicasts
from benchmarks.process import run
from compiler.program import FORMAT

SIZE, PER_CORE, WINDOW_PS = 64, 19, 1_000_000
SPIKES, SOURCES, BLOCK = 3000, 32, (8, 32)
CORES = (4, 8, 16, 32, 64, 128, 256)
MESSAGES = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
AT_ONCE = 500_000
"""More messages go in several waves."""
PROGRAM = ROOT / "build" / f"spikingbrain-7b-hala-point.{FORMAT}.sbx"


@dataclass(frozen=True, slots=True)
class Links:
    """Messages over links: seconds of the best run."""

    what: str
    cores: int
    messages: int
    crossings: int
    deliveries: int
    seconds: float

    @property
    def ns_per_crossing(self) -> float:
        return self.seconds * 1e9 / self.crossings


@dataclass(frozen=True, slots=True)
class Token:
    """One decoded token."""

    model: str
    target: str
    seconds: float
    layout_s: float  # tables, streams and the profile, once per run
    peak_bytes: int
    simulated_s: float
    messages: int
    deliveries: int
    crossings: int
    steps: int


def measured(what: str, trees: Trees, sent: Traffic, repeat: int = 9) -> Links:
    """The best of some runs."""
    seconds = []
    arrivals(trees, sent)
    for _ in range(repeat):
        began = time.perf_counter()
        arrivals(trees, sent)
        seconds.append(time.perf_counter() - began)
    cores = trees.n_links // 5
    return Links(what, cores, sent.time.size, sent.crossings, sent.deliveries, min(seconds))


def links() -> list[Links]:
    """The two workloads of the goals."""
    rng = np.random.default_rng(0)
    one, many = unicasts(SIZE, PER_CORE, rng), multicasts(SIZE, SOURCES, BLOCK, rng)
    single = traffic(one, SIZE * SIZE * PER_CORE, WINDOW_PS, rng)
    return [
        measured("unicast", one, single),
        measured("multicast", many, traffic(many, SPIKES, WINDOW_PS, rng)),
    ]


def over_cores(most: int) -> list[Links]:
    """The same messages per core and window on meshes of growing size."""
    found = []
    for size in CORES:
        if size * size <= most:
            rng = np.random.default_rng(size)
            trees = unicasts(size, 1, rng)
            sent = traffic(trees, 4 * size * size, WINDOW_PS, rng)
            found.append(measured("unicast", trees, sent, 3))
    return found


def over_messages(most: int) -> list[Links]:
    """More and more messages on one mesh, as many in a window as ever."""
    rng = np.random.default_rng(1)
    trees = unicasts(SIZE, PER_CORE, rng)
    found = []
    for n in MESSAGES:
        if n <= most:
            waves = -(-n // AT_ONCE)
            per = n // waves
            window = max(1, WINDOW_PS * per // (SIZE * SIZE * PER_CORE))
            one = measured("unicast", trees, traffic(trees, per, window, rng), 2)
            rest = sum(_timed(trees, traffic(trees, per, window, rng)) for _ in range(waves - 1))
            crossings = one.crossings * waves
            found.append(Links("unicast", one.cores, per * waves, crossings, n, one.seconds + rest))
    return found


def _timed(trees: Trees, sent: Traffic) -> float:
    began = time.perf_counter()
    arrivals(trees, sent)
    return time.perf_counter() - began


def token(path: Path) -> Token:
    """Prefill a token, then time one in decode; in this very process."""
    from compiler.program import Program
    from simulator.drive import Simulation
    from simulator.workload import profile

    program = Program.read(path)
    began = time.perf_counter()
    workload = profile(program, prompt=1, tokens=2)
    simulation = Simulation(program, workload=workload, in_flight=1)
    layout_s = time.perf_counter() - began
    spent, before, seen = 0.0, 0, _seen(simulation)
    for _ in range(2):
        before, seen = simulation.now_ps, _seen(simulation)
        began = time.perf_counter()
        simulation.start(0, before)
        for _ in simulation.advance():
            pass
        spent = time.perf_counter() - began
    messages, deliveries, events, steps = (
        new - old for new, old in zip(_seen(simulation), seen, strict=True)
    )
    unit = 1 if sys.platform == "darwin" else 1024
    return Token(
        model=program.graph.model,
        target=program.chip.name,
        seconds=spent,
        layout_s=layout_s,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        simulated_s=(simulation.now_ps - before) * 1e-12,
        messages=messages,
        deliveries=deliveries,
        crossings=events - deliveries,
        steps=steps,
    )


def _seen(simulation: Any) -> tuple[int, int, int, int]:
    """Messages, deliveries, deliveries and links together, steps."""
    state = simulation.state
    return (
        int(state.tree_sent.sum()),
        int(state.sink_got.sum()),
        simulation.events,
        simulation.steps,
    )


def token_apart(program: Path) -> Token:
    """The same in a process of its own; raises CalledProcessError."""
    command = ["-m", "benchmarks.simulate", "--token", str(program)]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return Token(**json.loads(done.stdout))


def full_size() -> Path:
    """SpikingBrain-7B mapped, once."""
    if not PROGRAM.exists():
        PROGRAM.parent.mkdir(exist_ok=True)
        words = ["-m", "compiler.cli", "--preset", "spikingbrain-7b"]
        run([*words, "--target", "hala-point-like", "--out", str(PROGRAM)], dict(os.environ))
    return PROGRAM


def goals(rows: list[Links], one: Token) -> list[Goal]:
    """What must be shown."""
    unicast, multicast = rows
    mean = unicast.crossings / unicast.messages
    return [
        Goal(
            f"unicast messages over {mean:.1f} links",
            unicast.messages / unicast.seconds / 1e6, 5, 5, "M/s", at_least=True,
        ),
        Goal(
            "multicast deliveries",
            multicast.deliveries / multicast.seconds / 1e6, 100, 100, "M/s", at_least=True,
        ),
        Goal(f"a token of {one.model}", one.seconds, 10, 3, "s"),
        Goal("its memory", one.peak_bytes / 1e9, 6, 6, "GB"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--most", type=float, default=1e7, help="messages of the table's end")
    parser.add_argument("--cores", type=float, default=65_536, help="cores of the table's end")
    parser.add_argument("--program", type=Path, help="the token's program, instead of the 7B's")
    parser.add_argument("--token", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.token:
        print(json.dumps(asdict(token(chosen.token))))
        return
    rows, one = links(), token_apart(chosen.program or full_size())
    tables = {
        "over cores": over_cores(int(chosen.cores)),
        "over messages": over_messages(int(chosen.most)),
    }
    if chosen.json:
        found = {
            "goals": [g.as_json() for g in goals(rows, one)],
            "links": [asdict(row) for row in rows],
            "token": asdict(one),
            **{name: [asdict(row) for row in table] for name, table in tables.items()},
        }
        print(json.dumps(found, indent=1))
        return
    for goal in goals(rows, one):
        print(f"{goal.name:34} {goal.found:9.2f} {goal.unit:4} {goal.told}")
    print(
        f"\n{one.model} on {one.target}: {one.messages:,} messages, {one.deliveries:,} deliveries, "
        f"{one.crossings:,} links crossed, {one.steps:,} steps, {one.simulated_s:.3g} s of the "
        f"chip's time; laid out in {one.layout_s:.1f} s"
    )
    for name, table in tables.items():
        print(f"\n{name:14} messages     links crossed   seconds   ns per link")
        for row in table:
            print(
                f"{row.cores:10,} {row.messages:12,} {row.crossings:17,} {row.seconds:9.3f}"
                f" {row.ns_per_crossing:13.2f}"
            )


if __name__ == "__main__":
    main()

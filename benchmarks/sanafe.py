"""Whole runs beside SANA-FE: python -m benchmarks.sanafe [--rows fc-512,...] [--cycle] [--json]

The same network, mapping, input and costs in both (tests/peers/sana_fe.py); counts and energy must
be equal, and the time without contention, or the benchmark fails. One thread each, in turn, on the
same machine. SANA-FE's wall time is chip.sim() alone, ours that of the steps, counts, energy and
time of every step; building the network and Numba's compilation are left out of both. Best of the
repetitions. Beside it, what `sbsim run` takes from the program in memory to a finished run folder,
in lock step with all threads, for 256 steps; and the event engine.

Needs `make build/sanafe/ready`: SANA-FE in an environment of its own.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.goal import Goal
from compiler.accounting import tree_facts
from compiler.program import Program
from simulator.api import simulate
from simulator.drive import Simulation
from simulator.helpers import Helpers
from simulator.lockstep import Lockstep
from simulator.phases import run_steps
from simulator.step_time import Contention, contention_free_ps, delivered
from tests.peers.networks import Case, case, gesture, scattered
from tests.peers.sana_fe import COSTS, PYTHON, Priced, gesture_file, priced, run_peer

MESH = {"layout.routers": "[32, 32]", "layout.usable_cores": "4096"}
"""One chip of 4,096 cores, as SANA-FE's loihi_large."""

ROWS: dict[str, dict[str, Any]] = {
    "fc-512": {"sizes": (512, 512, 512), "steps": 32, "memory": "64 KiB"},
    "fc-2048": {"sizes": (2048, 2048), "steps": 16, "memory": "256 KiB"},
    "fc-2048-thin": {"sizes": (2048, 2048), "steps": 8, "memory": "32 KiB"},
    "fc-4096": {"sizes": (4096, 4096), "steps": 4, "memory": "256 KiB"},
    "gesture": {"steps": 1000},
    "scattered-16x4": {"cores": 128, "per_core": 64, "messages": 16, "synapses": 4, "share": 0.5},
    "scattered-64x1": {"cores": 128, "per_core": 64, "messages": 64, "synapses": 1, "share": 0.5},
    "scattered-4096": {"cores": 4096, "per_core": 16, "messages": 8, "synapses": 4, "share": 0.3,
                       "overrides": MESH},
}  # fmt: skip
EVENT_ENGINE = 2048
"""Widest dense network that `sbsim run` and the event engine are timed on as well."""

GOALS = {
    "gesture": (("a step", "ours_s", 0.5e-3), ("with contention", "ours_queued_s", 1e-3),
                ("bytes resident", "resident_bytes", 300e6)),
    "scattered-4096": (("x detailed", "times_queued", 300),),
}  # fmt: skip
"""(what, key of a row, limit): costs at most, ratios at least; per step."""


def made_of(name: str, folder: Path) -> Case:
    """The network of a row."""
    row = ROWS[name]
    if name == "gesture":
        return gesture(gesture_file(), row["steps"], leak_decay=1)
    if "cores" in row:
        more = {key: row[key] for key in ("messages", "synapses", "share")}
        sides = row.get("overrides")
        steps = row.get("steps", 8)
        return scattered(row["cores"], row["per_core"], **more, steps=steps, overrides=sides)
    overrides = {"core.synapse_memory": row["memory"]}
    return case(folder / f"{name}.nir", row["sizes"], row["steps"], leak=0.0, overrides=overrides)


def grown(run: Callable[[], Any]) -> int:
    """Bytes by which this process is larger at most while something runs (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # its largest size is its size now
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def bytes_of(program: Program) -> int:
    """Of a program in memory."""
    return sum(np.asarray(array).nbytes for array in program.arrays.values())


def best(run: Callable[[Lockstep], Any], made: Case, repetitions: int) -> tuple[float, Any]:
    """(seconds, result) of a run from rest; the first one, which compiles, does not count."""
    least, result = math.inf, None
    for repetition in range(repetitions + 1):
        lockstep = Lockstep(made.program, helpers=Helpers(1))
        began = time.perf_counter()
        result = run(lockstep)
        if repetition:
            least = min(least, time.perf_counter() - began)
    return least, result


def measure(name: str, repetitions: int, cycle: bool = False) -> dict[str, Any]:
    """A row: seconds per step of both, ratios, and simulated times."""
    with tempfile.TemporaryDirectory() as folder:
        made = made_of(name, Path(folder))
    steps = len(made.spikes) - made.lead
    dense = max(ROWS[name].get("sizes", (EVENT_ENGINE + 1,))) <= EVENT_ENGINE
    lockstep_of = Lockstep(made.program, helpers=Helpers(1))
    contention, facts = Contention.of(lockstep_of, COSTS), tree_facts(made.program)

    def free(lockstep: Lockstep) -> tuple[Priced, Any]:
        found = lockstep.run(made.spikes)
        came = delivered(lockstep, found)
        return priced(lockstep, found, came, facts), contention_free_ps(
            lockstep, found, COSTS, came
        )

    def queued(lockstep: Lockstep) -> tuple[Priced, Any]:
        found = lockstep.run(made.spikes, keep_busy=True)
        return priced(lockstep, found, facts=facts), contention.times_ps(found)

    simple_s, (counts, free_ps) = best(free, made, repetitions)
    detailed_s, (_, queued_ps) = best(queued, made, repetitions)
    counts, free_ps, queued_ps = (
        counts.after(made.lead),
        free_ps[made.lead :],
        queued_ps[made.lead :],
    )
    resident = bytes_of(made.program) + grown(lambda: free(Lockstep(made.program)))
    synapses = sum(linear.synapses for linear in made.program.graph.linears)
    timings = ["simple", "detailed", *(["cycle"] if cycle else [])]
    peer = run_peer(
        lockstep_of, made.spikes[made.lead :], made.weights, timings=timings,
        repeats=repetitions, trace=False, timeout_s=3600,
    )  # fmt: skip
    runs = peer["runs"]
    check(counts, int(free_ps.sum()), runs)
    walls = {timing: min(runs[timing]["wall_s"]) / steps for timing in timings}
    last = {timing: runs[timing]["sim_time_s"] / steps * 1e6 for timing in timings}
    return {
        "work": name,
        "cores": made.program.n_cores,
        "steps": steps,
        "synops/step": int(counts.synops.sum()) // steps,
        "messages/step": int(counts.packets.sum()) // steps,
        "simple_s": walls["simple"],
        "ours_s": simple_s / steps,
        "times": walls["simple"] / (simple_s / steps),
        "detailed_s": walls["detailed"],
        "ours_queued_s": detailed_s / steps,
        "times_queued": walls["detailed"] / (detailed_s / steps),
        "run_s": whole(made, repetitions) if dense else None,
        "event_engine_s": events(made, steps) if dense else None,
        "resident_bytes": resident,
        "bytes_per_synapse": synapse_bytes(lockstep_of) / synapses,
        "step_us": last
        | {"ours": free_ps.sum() / steps / 1e6, "queued": queued_ps.sum() / steps / 1e6},
        "peer_build_s": peer["build_s"],
        "peer_peak_bytes": peer["peak_bytes"],
    }


def check(counts: Priced, free_ps: int, runs: dict[str, Any]) -> None:
    """Equal counts, and energy and contention-free time to 1e-9."""
    for timing, run in runs.items():
        if run["counts"] != counts.totals():
            raise SystemExit(f"{timing}: {run['counts']} there, {counts.totals()} here")
        energy = int(counts.energy_fj.sum()) * 1e-15
        if not math.isclose(energy, run["energy_j"]["total"], rel_tol=1e-9):
            raise SystemExit(f"{timing}: {run['energy_j']['total']} J there, {energy} J here")
    if not math.isclose(free_ps * 1e-12, runs["simple"]["sim_time_s"], rel_tol=1e-9):
        raise SystemExit(f"{runs['simple']['sim_time_s']} s there, {free_ps * 1e-12} s here")


def synapse_bytes(lockstep: Lockstep) -> int:
    """What a simulation keeps of weights and lists while it runs."""
    chain = lockstep.chain
    kept = (chain.weight, chain.mantissa, chain.list_first, chain.list_neuron, chain.list_value)
    return sum(array.nbytes for array in kept)


def whole(made: Case, repetitions: int, steps: int = 256) -> float:
    """Seconds per step of `sbsim run`: the target's own sync, its folder included."""
    least, spikes = math.inf, np.resize(made.spikes, (steps, made.spikes.shape[1]))
    for repetition in range(repetitions + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            simulate(made.program, spikes=spikes, out=Path(folder) / "run")
            if repetition:
                least = min(least, (time.perf_counter() - began) / steps)
    return least


def events(made: Case, steps: int) -> float:
    """Seconds per step on the event engine, as of `sbsim run --sync dataflow`: every message by
    itself."""
    least = math.inf
    for repetition in range(2):
        simulation = Simulation(made.program, in_flight=64, sync="dataflow")
        began = time.perf_counter()
        run_steps(simulation, made.spikes, lambda what, done, total: None)
        if repetition:
            least = (time.perf_counter() - began) / steps
    return least


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Milliseconds per step, and the ratios."""
    out = [
        "| work | cores | synops/step | messages/step | simple | ours | x | detailed | ours | x |"
        " sbsim run | event engine |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        engine = "-" if r["event_engine_s"] is None else f"{r['event_engine_s'] * 1e3:.2f}"
        whole_run = "-" if r["run_s"] is None else f"{r['run_s'] * 1e3:.3f}"
        out.append(
            f"| {r['work']} | {r['cores']} | {r['synops/step']:,} | {r['messages/step']:,} "
            f"| {r['simple_s'] * 1e3:.1f} | {r['ours_s'] * 1e3:.3f} | {r['times']:.0f} "
            f"| {r['detailed_s'] * 1e3:.1f} | {r['ours_queued_s'] * 1e3:.3f} "
            f"| {r['times_queued']:.0f} | {whole_run} | {engine} |"
        )
    out += ["", "simulated time of a step, us", ""]
    for r in rows:
        told = ", ".join(f"{name} {us:.2f}" for name, us in r["step_us"].items())
        memory = f"{r['resident_bytes'] / 1e6:.0f} MB, {r['bytes_per_synapse']:.2f} B a synapse"
        out.append(
            f"{r['work']}: {told}; ours {memory}; SANA-FE {r['peer_peak_bytes'] / 1e9:.2f} GB"
        )
    for r in rows:
        for what, key, limit in GOALS.get(r["work"], ()):
            goal = Goal(f"{r['work']}, {what}", r[key], limit, at_least=key.startswith("times"))
            out.append(f"{goal.name}: {goal.found:.4g}, {goal.told}")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="fc-512,fc-2048,fc-2048-thin")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--cycle", action="store_true", help="SANA-FE's cycle model, too: slow")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not PYTHON.exists():
        raise SystemExit(f"no {PYTHON}: make build/sanafe/ready")
    unknown = set(options.rows.split(",")) - set(ROWS)
    if unknown:
        raise SystemExit(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    rows = [measure(name, options.repetitions, options.cycle) for name in options.rows.split(",")]
    print(json.dumps(rows, indent=1) if options.json else table(rows))


if __name__ == "__main__":
    main()

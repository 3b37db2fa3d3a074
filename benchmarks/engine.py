"""Speed of the event engine on the byte LM: python -m benchmarks.engine [--sync barrier] [--json]

Events, messages, deliveries and synops per second of wall time, over whole phases as
`sbsim run` has them (float stages included, files not). Compilation by Numba is excluded by
a run before; median of the repetitions.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import get_args

from compiler.pipeline import compile_model
from compiler.program import SPIKE, TILE, Program
from hw_models.chip import Sync
from simulator.drive import Simulation

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("events", "messages", "deliveries", "synops")
SHORTER = 8
"""The toy chip spreads the model over a dozen times the cores: this many times fewer tokens."""


def counts(simulation: Simulation) -> dict[str, int]:
    """What has happened so far; a burst counts by its multiplicity."""
    state, t = simulation.state, simulation.program.tables
    spikes = state.sink_got[:, SPIKE] * (t.task_kind[t.sink_task] == TILE)
    return {
        "events": simulation.events,
        "messages": int(state.tree_sent.sum()),
        "deliveries": int(state.sink_got.sum()),
        "synops": int((spikes * t.task_neuron_n[t.sink_task]).sum()),
    }


def finish(simulation: Simulation) -> int:
    """Run what was started; when the last logits reached the host."""
    end = 0
    for token, ps, _ in simulation.advance():
        end = ps if token >= 0 else end
    return end


def prefill(program: Program, text: bytes, sync: Sync = "dataflow") -> tuple[float, dict[str, int]]:
    """Wall seconds and counts of all tokens at once; the head runs for the last one."""
    last = len(text) - 1
    simulation = Simulation(program, sync=sync, first_logits=last, in_flight=len(text))
    began = time.perf_counter()
    for token in text:
        simulation.start(token, 0)
    finish(simulation)
    return time.perf_counter() - began, counts(simulation)


def decode(program: Program, text: bytes, sync: Sync = "dataflow") -> tuple[float, dict[str, int]]:
    """Wall seconds and counts of one token after another."""
    simulation = Simulation(program, sync=sync, in_flight=1)
    began, end = time.perf_counter(), 0
    for token in text:
        simulation.start(token, end)
        end = finish(simulation)
    return time.perf_counter() - began, counts(simulation)


def measure(
    tokens: int = 64, repetitions: int = 5, sync: Sync = "dataflow"
) -> list[dict[str, float | str]]:
    """One row per target and phase: seconds, counts and rates."""
    text = (ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:tokens]
    rows: list[dict[str, float | str]] = []
    for target, length in (("loihi-like", tokens), ("toy", max(1, tokens // SHORTER))):
        program = compile_model(ROOT / "examples/byte_lm/model.pt", target)
        prefill(program, text[:1], sync)
        for phase in (prefill, decode):
            runs = [phase(program, text[:length], sync) for _ in range(repetitions)]
            seconds = statistics.median(s for s, _ in runs)
            rates = {f"{name}/s": n / seconds for name, n in runs[0][1].items()}
            what = {"target": target, "phase": phase.__name__, "tokens": length, "seconds": seconds}
            rows.append(what | runs[0][1] | rates)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tokens", type=int, default=64, help="tokens per phase on loihi-like")
    parser.add_argument("--repetitions", type=int, default=5, help="runs to take the median of")
    parser.add_argument("--sync", default="dataflow", choices=get_args(Sync))
    chosen = parser.parse_args()
    rows = measure(chosen.tokens, chosen.repetitions, chosen.sync)
    if chosen.json:
        print(json.dumps(rows))
        return
    heads = "".join(f"{column + '/s':>14}" for column in COLUMNS)
    print(f"{'target':12}{'phase':9}{'tokens':>7}{'seconds':>9}{heads}")
    for row in rows:
        rates = "".join(f"{row[column + '/s']:14.3g}" for column in COLUMNS)
        print(f"{row['target']:12}{row['phase']:9}{row['tokens']:7}{row['seconds']:9.3f}{rates}")


if __name__ == "__main__":
    main()

"""Speed of the event engine on the byte LM: python -m benchmarks.engine [--json]

Events, messages, deliveries and synops per second of wall time, whole runs (stages
included), compilation by Numba excluded by a run before; median of three.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from compiler.pipeline import compile_model
from compiler.program import MARKER, PARTIAL, SPIKE, TILE, VALUE, Program
from simulator.drive import Simulation

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("events", "messages", "deliveries", "synops")


def once(program: Program, text: bytes, streamed: bool) -> tuple[float, dict[str, int]]:
    """Wall seconds and counts of one run: all tokens at once, or one after another."""
    simulation = Simulation(program, in_flight=len(text) if streamed else 1)
    began = time.perf_counter()
    end = 0
    for token in text:
        simulation.start(token, end)
        if not streamed:
            *_, (_, end, _) = simulation.advance()
    if streamed:
        list(simulation.advance())
    seconds = time.perf_counter() - began
    state, t = simulation.state, program.tables
    classes = [SPIKE, PARTIAL, VALUE, MARKER]
    task = t.sink_task
    spikes = state.sink_got[:, SPIKE] * (t.task_kind[task] == TILE)
    return seconds, {
        "events": simulation.events,
        "messages": int(state.tree_sent[:, classes].sum()),
        "deliveries": int(state.sink_got[:, classes].sum()),
        "synops": int((spikes * t.task_neuron_n[task]).sum()),
    }


def measure(tokens: int = 64) -> list[dict[str, float | str]]:
    """One row per target and phase."""
    text = (ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:tokens]
    rows: list[dict[str, float | str]] = []
    for target, length in (("loihi-like", tokens), ("toy", max(1, tokens // 8))):
        program = compile_model(ROOT / "examples/byte_lm/model.pt", target)
        once(program, text[:1], True)
        for phase in ("prefill", "decode"):
            runs = [once(program, text[:length], phase == "prefill") for _ in range(3)]
            seconds = statistics.median(s for s, _ in runs)
            rates = {f"{name}/s": n / seconds for name, n in runs[0][1].items()}
            rows.append({"target": target, "phase": phase, "tokens": length} | rates)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tokens", type=int, default=64)
    chosen = parser.parse_args()
    rows = measure(chosen.tokens)
    if chosen.json:
        print(json.dumps(rows))
        return
    print(f"{'target':12}{'phase':9}{'tokens':>7}" + "".join(f"{c + '/s':>14}" for c in COLUMNS))
    for row in rows:
        rates = "".join(f"{row[c + '/s']:14.3g}" for c in COLUMNS)
        print(f"{row['target']:12}{row['phase']:9}{row['tokens']:7}{rates}")


if __name__ == "__main__":
    main()

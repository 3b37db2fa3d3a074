"""The demo, cold: python -m benchmarks.demo [--no-trace] [--json]

The README's three commands as a user runs them, each a process of its own, on the byte LM:
64 tokens of held-out text as the prompt, 64 decoded, on loihi-like, with an empty Numba
cache. Set-up is excluded. Prints wall and CPU seconds and peak memory of every command.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "examples/byte_lm/model.pt"
TEXT = ROOT / "examples/byte_lm/heldout.txt"
GOAL_S, GOAL_BYTES = 60.0, 2e9


@dataclass(frozen=True, slots=True)
class Measured:
    """One command: wall and CPU seconds, largest resident memory."""

    command: str
    wall_s: float
    cpu_s: float
    peak_bytes: float


def measure(
    model: Path = MODEL, prompt: int = 64, tokens: int = 64, trace: bool = True
) -> list[Measured]:
    """Run the commands in an empty folder; `prompt` and `tokens` are numbers of tokens."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "prompt.txt").write_bytes(TEXT.read_bytes()[:prompt])
        start = ["--prompt-file", "prompt.txt", "--tokens", str(tokens)]
        traced = ["--trace"] if trace else []
        baselines = ["--baseline", "fp16", "--baseline", "int8"]
        return [
            _run(Path(folder), "compiler.cli", str(model), "--target", "loihi-like", *start),
            _run(Path(folder), "simulator.cli", "run", *traced),
            _run(Path(folder), "simulator.cli", "report", *baselines),
        ]


def _run(folder: Path, module: str, *arguments: str) -> Measured:
    """One command; what it says on stderr is shown if it fails, and CalledProcessError raised."""
    cold = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(folder / "numba")}
    command = [sys.executable, "-m", module, *arguments]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=folder, env=cold, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))
            raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(
        " ".join([_NAMES[module], *arguments]).replace(f"{ROOT}/", ""),
        wall_s,
        used.ru_utime + used.ru_stime,
        float(used.ru_maxrss * unit),
    )


_NAMES = {"compiler.cli": "sbcompile", "simulator.cli": "sbsim"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-trace", action="store_true", help="leave `sbsim run --trace` out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    found = measure(trace=not chosen.no_trace)
    total_s, peak_bytes = sum(m.wall_s for m in found), max(m.peak_bytes for m in found)
    if chosen.json:
        rows = [asdict(m) for m in found]
        print(json.dumps({"commands": rows, "total_s": total_s, "peak_bytes": peak_bytes}))
        return
    print(f"{'wall':>8} {'CPU':>8} {'peak':>9}")
    for m in found:
        print(f"{m.wall_s:6.1f} s {m.cpu_s:6.1f} s {m.peak_bytes / 1e9:6.2f} GB  {m.command[:70]}")
    print(f"{total_s:6.1f} s in all, goal {GOAL_S:.0f} s: {_verdict(total_s, GOAL_S)}")
    peak, goal = peak_bytes / 1e9, GOAL_BYTES / 1e9
    print(f"{peak:6.2f} GB at most, goal {goal:.0f} GB: {_verdict(peak, goal)}")


def _verdict(value: float, goal: float) -> str:
    return "met" if value < goal else "MISSED"


if __name__ == "__main__":
    main()

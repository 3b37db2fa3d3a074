"""The demo, cold: python -m benchmarks.demo [--json]

64 tokens of held-out text as the prompt, 64 decoded, on loihi-like, with an empty Numba
cache; set-up excluded. Three processes as a user runs them; wall time and peak memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GOAL_S, GOAL_BYTES = 60.0, 2e9


def measure() -> dict[str, float]:
    """Seconds per command and in all, and the largest process's peak memory in bytes."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        text = (ROOT / "examples/byte_lm/heldout.txt").read_bytes()[:64]
        (work / "prompt.txt").write_bytes(text)
        cold = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(work / "numba")}
        model = str(ROOT / "examples/byte_lm/model.pt")
        for module, *arguments in (
            ("compiler.cli", model, "--prompt-file", "prompt.txt", "--tokens", "64"),
            ("simulator.cli", "run"),
            ("simulator.cli", "report", "--baseline", "fp16", "--baseline", "int8"),
        ):
            began = time.perf_counter()
            command = [sys.executable, "-m", module, *arguments]
            subprocess.run(command, cwd=work, env=cold, check=True, capture_output=True)
            found[" ".join([module, *arguments[:1]])] = time.perf_counter() - began
    found["total_s"] = sum(found.values())
    found["peak_bytes"] = 1024.0 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    found = measure()
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:60} {value:14.4g}")
    for name, value, goal in (
        ("seconds", found["total_s"], GOAL_S),
        ("bytes", found["peak_bytes"], GOAL_BYTES),
    ):
        print(f"goal {goal:.4g} {name}: {'met' if value < goal else 'MISSED'}")


if __name__ == "__main__":
    main()

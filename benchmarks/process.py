"""A Python command in a process of its own: seconds, memory, what it said."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.weights import ROOT

WATCH = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, *sys.argv[2:]])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Between us and the command: what is forked inherits the largest memory of its parent, and this
parent is small."""


def run(words: Sequence[str], env: Mapping[str, str]) -> tuple[float, int, str]:
    """(seconds, largest resident bytes, standard output); raises CalledProcessError."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "memory"
        done = subprocess.run(
            [sys.executable, "-c", WATCH, str(memory), *words],
            cwd=ROOT,
            env=dict(env),
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s = time.perf_counter() - began
        done.check_returncode()
        unit = 1 if sys.platform == "darwin" else 1024
        return wall_s, int(memory.read_text()) * unit, done.stdout

"""Every benchmark of a kernel runs once, unmeasured."""

import subprocess
import sys

import pytest

from benchmarks.engine import ROOT

FILES = sorted(path.name for path in (ROOT / "benchmarks").glob("bench_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_it_runs(name):
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", f"benchmarks/{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_there_are_benchmarks():
    assert len(FILES) >= 4

"""Machine code kept on disk is that of the sources as they are."""

import os
import shutil
import subprocess
import sys

GRADED_SPIKE = """
import numpy as np
from simulator.hot.encode import expand
from simulator.hot.expand import GRADED
payload = np.zeros(1, np.int64)
expand(np.array([5], np.int32), GRADED, 8, np.zeros(1, np.int32), payload, np.zeros(1, np.int64))
print(payload[0])
"""


def printed(folder):
    """What the package in `folder` computes, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", GRADED_SPIKE]
    return int(subprocess.check_output(command, cwd=folder, env=environment))


def test_a_changed_kernel_is_compiled_again_into_those_that_call_it(root, tmp_path):
    package = tmp_path / "simulator"
    shutil.copytree(root / "simulator" / "hot", package / "hot")
    assert printed(tmp_path) == 5
    called = package / "hot" / "expand.py"  # `expand` itself is in encode.py
    called.write_text(called.read_text().replace("return left, 1, 0", "return -left, 1, 0"))
    assert printed(tmp_path) == -5


def test_unchanged_kernels_are_compiled_once(root, tmp_path):
    shutil.copytree(root / "simulator" / "hot", tmp_path / "simulator" / "hot")
    printed(tmp_path)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    printed(tmp_path)
    assert stored
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")} == stored

"""How fast, and in how much memory, weights become a program: python -m benchmarks.weights [FOLDER]

Without FOLDER, a checkpoint of random weights is made for it. First the stages one after another
on one thread; then all of them at once, as sbcompile runs them, in a process of its own: from the
disk, with the checkpoint out of the system's cache, onto the disk. Imports and what Numba compiles
are excluded from the times, not from the memory.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.random_checkpoint import DTYPES, config_of, write
from compiler import sections, weights
from compiler.frontends.read import read_model
from compiler.quantize import Block, quantize_block, runs, verify_block

ROOT = Path(__file__).resolve().parent.parent
GOAL_MB_PER_S, GOAL_BYTES = 300.0, 1.5e9


@dataclass(frozen=True, slots=True)
class Measured:
    """The whole path; peak_bytes is the largest resident memory of its process."""

    weights: int
    checkpoint_bytes: int
    program_bytes: int
    wall_s: float
    cpu_s: float
    peak_bytes: int

    @property
    def mb_per_s(self) -> float:
        """Of the checkpoint."""
        return self.checkpoint_bytes / self.wall_s / 1e6


def measure(folder: Path, cold: bool = True) -> Measured:
    """All weights of a checkpoint, in a process of its own; raises CalledProcessError."""
    if cold:
        _forget(folder)
    command = [sys.executable, "-m", "benchmarks.weights", str(folder), "--alone"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return Measured(**json.loads(done.stdout))


def _alone(folder: Path) -> Measured:
    """What `measure` starts."""
    graph, tensors = read_model(folder)
    _compile_kernels(graph, tensors)
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        path = Path(out) / "weights.sbx"
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        made = weights.sections(graph, tensors)
        sections.write(path, weights.forms(graph, tensors), made, json.dumps)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        program_bytes = path.stat().st_size
    return Measured(
        weights=sum(tensor.numel() for tensor in tensors.values()),
        checkpoint_bytes=sum(path.stat().st_size for path in _files(folder)),
        program_bytes=program_bytes,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=_peak_bytes(),
    )


def stages(folder: Path, most: float = 2e8) -> dict[str, float]:
    """Weights per second of each stage alone, on one thread, over the first `most` weights."""
    graph, tensors = read_model(folder)
    _compile_kernels(graph, tensors)
    jobs = [(lin, *cut) for lin in graph.linears for cut in weights.cuts(lin.n_post, lin.n_pre)]
    jobs = jobs[: 1 + int(most / weights.BLOCK)]
    total = sum((hi - lo) * linear.n_pre for linear, lo, hi in jobs)
    blocks: list[Block] = []

    def read() -> None:
        for linear, lo, hi in jobs:
            for run in runs(linear, lo, hi):
                tensors[run.part.weight][run.a : run.b].clone()

    def quantise() -> None:
        blocks.extend(quantize_block(linear, tensors, lo, hi) for linear, lo, hi in jobs)

    def verify() -> None:
        for block in blocks:
            verify_block(block, tensors)

    def digest() -> None:
        found = hashlib.sha256()
        for block in blocks:
            found.update(block.q.data)

    def store() -> None:
        with tempfile.TemporaryFile(dir=folder.parent) as file:
            for block in blocks:
                file.write(block.q.data)
            file.flush()
            os.fsync(file.fileno())

    _forget(folder)
    steps = {"read": read, "quantise": quantise, "verify": verify, "hash": digest, "write": store}
    return {name: total / _seconds(step) for name, step in steps.items()}


def _seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _compile_kernels(graph: Any, tensors: Any) -> None:
    verify_block(quantize_block(graph.linears[0], tensors, 0, 2), tensors)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _forget(folder: Path) -> None:
    """Drop the checkpoint from the system's cache, where it can be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _peak_bytes() -> int:
    """Of this process; Linux's ru_maxrss would be that of its parent, if that was larger."""
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="checkpoint (a random one)")
    parser.add_argument("--weights", type=float, default=1e9, help="of the random one (1e9)")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the random one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        print(json.dumps(asdict(_alone(chosen.folder.resolve()))))
        return
    build = ROOT / "build"  # on a disk, where the system's temporary folder may be in memory
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as made:
        folder = chosen.folder or Path(made) / "checkpoint"
        if chosen.folder is None:
            write(folder, config_of(chosen.weights), chosen.dtype)
        folder = folder.resolve()
        alone, whole = stages(folder), measure(folder)
    if chosen.json:
        found = asdict(whole) | {"mb_per_s": whole.mb_per_s}
        print(json.dumps({"stages_weights_per_s": alone, "whole": found}))
        return
    for name, rate in alone.items():
        print(f"{name:10} {rate / 1e6:8.0f} M weights/s on one thread")
    gigabytes = [n / 1e9 for n in (whole.checkpoint_bytes, whole.program_bytes, whole.peak_bytes)]
    print("all at once: {:.2f} GB of checkpoint, {:.2f} GB of program".format(*gigabytes))
    print(f"{whole.wall_s:.1f} s ({whole.cpu_s:.1f} s of CPU): {whole.mb_per_s:.0f} MB/s, ", end="")
    print(f"goal {GOAL_MB_PER_S:.0f} MB/s: {_verdict(whole.mb_per_s >= GOAL_MB_PER_S)}")
    print(f"{gigabytes[2]:.2f} GB of memory at most, ", end="")
    print(f"goal {GOAL_BYTES / 1e9:.1f} GB: {_verdict(whole.peak_bytes < GOAL_BYTES)}")


def _verdict(good: bool) -> str:
    return "met" if good else "MISSED"


if __name__ == "__main__":
    main()

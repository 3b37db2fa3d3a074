"""How fast rows of synapses are added, against dense products: python -m benchmarks.rows [--json]

Kernel rates: a 4096 x 4096 linear, 30 % of its inputs active, in cache and from memory (matrices in
turn, more than any cache holds). Then one decoded token of a Llama-like model with random weights,
82 % of the channels active, every linear one after another, against torch's dense matrix-vector
products of the same shapes. And what a loaded program takes of memory, in a process of its own.

Sums are checked against products in int64 first. Times exclude compilation by Numba; contestants
take turns, and of each the best of the rounds' medians counts, because the machine may have other
work. Threads spin for a moment while they wait, as OpenMP does by default; on a busy machine they
take the cores of those they wait for, ours and torch's: OMP_WAIT_POLICY=passive is better there.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.goal import Goal
from benchmarks.random_checkpoint import config_of, shapes_of, write
from benchmarks.weights import ROOT
from compiler.pipeline import compile_model
from simulator.hot.jit import threaded
from simulator.hot.rows import GROUP, linear_sums

THREADS = 2
TILE = (1024, 4096)
"""Inputs and neurons of a tile at most: rows long enough that memory streams."""
BEYOND_CACHES = 1 << 29
ACTIVE, DENSE_N = 0.82, 4096
"""Share of active channels of the decoded token; width of the kernel's matrix."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear's int8 weights in the engine's layout: axon-major tiles, one after another."""

    n_pre: int
    n_post: int
    tile: NDArray[np.int64]
    weight: NDArray[np.int8]
    mantissa: NDArray[np.int16]

    def sums(self, counts: NDArray[np.int32], y: NDArray[np.int64]) -> None:
        linear_sums(y, self.tile, self.weight, self.mantissa, counts)

    def matrix(self) -> NDArray[np.int8]:
        """int8[n_pre, n_post], as the dense products have it."""
        whole = np.zeros((self.n_pre, self.n_post), np.int8)
        for lo, n_pre, first, n, at, _ in self.tile.tolist():
            whole[lo : lo + n_pre, first : first + n] = self.weight[at : at + n_pre * n].reshape(
                n_pre, n
            )
        return whole

    def check(self, counts: NDArray[np.int32]) -> None:
        """Raises ArithmeticError unless the kernel's sums are those of products in int64."""
        y, wanted = np.zeros(self.n_post, np.int64), np.zeros(self.n_post, np.int64)
        self.sums(counts, y)
        for lo, n_pre, first, n, at, m in self.tile.tolist():
            q = self.weight[at : at + n_pre * n].reshape(n_pre, n).astype(np.int64)
            for group in range(-(-n_pre // GROUP)):
                own = slice(group * GROUP, min(group * GROUP + GROUP, n_pre))
                a = counts[lo + own.start : lo + own.stop].astype(np.int64) @ q[own]
                at_m = m + group * n
                wanted[first : first + n] += self.mantissa[at_m : at_m + n] * a
        if (y != wanted).any():
            raise ArithmeticError(f"sums of {self.n_pre} x {self.n_post} differ from the product's")


def layer(rng: np.random.Generator, n_pre: int, n_post: int) -> Layer:
    """Random weights; the bytes are drawn, so that they lie in memory of their own."""
    rows, at, m = [], 0, 0
    for lo in range(0, n_pre, TILE[0]):
        for first in range(0, n_post, TILE[1]):
            pre, n = min(TILE[0], n_pre - lo), min(TILE[1], n_post - first)
            rows.append((lo, pre, first, n, at, m))
            at, m = at + pre * n, m + -(-pre // GROUP) * n
    weight = np.frombuffer(rng.bytes(at), np.int8).copy()
    mantissa = rng.integers(1, 32768, m).astype(np.int16)
    return Layer(n_pre, n_post, np.array(rows, np.int64), weight, mantissa)


def payloads(rng: np.random.Generator, n: int, active: float, most: int = 7) -> NDArray[np.int32]:
    """Signed counts of 1 to `most`; exactly this share of them (rounded) is not zero."""
    size = rng.integers(1, most + 1, n) * rng.choice([-1, 1], n)
    size[rng.permutation(n)[round(active * n) :]] = 0
    return size.astype(np.int32)


def best(
    contestants: Mapping[str, Callable[[], None]], rounds: int, repetitions: int
) -> dict[str, float]:
    """Seconds of each: the lowest of its medians over the rounds, in which all take turns."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            run()
            seconds = []
            for _ in range(repetitions):
                began = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - began)
            found[name].append(statistics.median(seconds))
    return {name: min(medians) for name, medians in found.items()}


@threaded
def _read(x: NDArray[np.int64], found: NDArray[np.int64]) -> None:
    """Read an array from end to end, some parts at a time."""
    size = x.size // found.size
    for part in numba.prange(found.size):
        bits = np.int64(0)
        for value in x[part * size : (part + 1) * size]:
            bits |= value
        found[part] = bits


def kernel(
    rounds: int = 5, repetitions: int = 15, n: int = DENSE_N, beyond: int = BEYOND_CACHES
) -> dict[str, float]:
    """synops/s of one matrix in cache and of many from memory; bytes/s that can be read there."""
    rng = np.random.default_rng(0)
    layers = [layer(rng, n, n) for _ in range(max(1, -(-beyond // n**2)))]
    drives = {"1 to 7": payloads(rng, n, 0.3), "+-1": payloads(rng, n, 0.3, 1)}
    y, long = np.zeros(n, np.int64), np.ones(max(64, beyond // 8), np.int64)
    synops = {name: int((counts != 0).sum()) * n for name, counts in drives.items()}
    for counts in drives.values():
        layers[0].check(counts)

    def all_of(some: list[Layer], counts: NDArray[np.int32]) -> None:
        for one in some:
            one.sums(counts, y)

    found = {}
    for threads in (1, THREADS):
        numba.set_num_threads(threads)
        near = {f"{d}, in cache": lambda c=c: all_of(layers[:1], c) for d, c in drives.items()}
        far = {f"{d}, from memory": lambda c=c: all_of(layers, c) for d, c in drives.items()}
        parts = np.zeros(64, np.int64)
        far["read"] = lambda parts=parts: _read(long, parts)
        seconds = best(near, rounds, repetitions) | best(far, rounds, max(1, repetitions // 5))
        for name, s in seconds.items():
            done = long.nbytes
            if name != "read":
                done = synops[name.partition(",")[0]] * (len(layers) if "memory" in name else 1)
            found[f"{name}, {threads} thread{'s' * (threads > 1)}"] = done / s
    return found


def decode(weights: float = 1e9, rounds: int = 3, repetitions: int = 3) -> dict[str, Any]:
    """Seconds of one token's linears, ours and torch's, at THREADS threads."""
    shapes = [s for name, s in shapes_of(config_of(weights)).items() if len(s) == 2]
    return decode_of(shapes[1:], rounds, repetitions)  # the first is the embedding


def decode_of(shapes: list[tuple[int, ...]], rounds: int, repetitions: int) -> dict[str, Any]:
    """The same for linears of these shapes, (n_post, n_pre) as in a checkpoint."""
    numba.set_num_threads(THREADS)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        return _decode(shapes, rounds, repetitions)
    finally:
        torch.set_num_threads(before)


def _decode(shapes: list[tuple[int, ...]], rounds: int, repetitions: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    layers = [layer(rng, n_pre, n_post) for n_post, n_pre in shapes]
    widths = sorted({one.n_pre for one in layers})
    some = {n: payloads(rng, n, ACTIVE) for n in widths}
    every = {n: payloads(rng, n, 1.0) for n in widths}
    y = {n: np.zeros(n, np.int64) for n in {one.n_post for one in layers}}
    for counts in (some, every):
        layers[0].check(counts[layers[0].n_pre])

    def ours(counts: dict[int, NDArray[np.int32]]) -> None:
        for one in layers:
            one.sums(counts[one.n_pre], y[one.n_post])

    with torch.inference_mode():
        dense = [torch.from_numpy(np.ascontiguousarray(one.matrix().T)) for one in layers]
        peers: dict[str, Callable[[], None]] = {}
        for name in ("float32", "bfloat16"):
            kind = getattr(torch, name)
            peers[f"torch {name}"] = _products(
                [w.to(kind) for w in dense],
                {n: torch.from_numpy(c).to(kind) for n, c in some.items()},
            )
        peers["torch int8"] = _int8(dense, some)
        seconds = best(
            {"rows": lambda: ours(some), "rows, all active": lambda: ours(every)} | peers,
            rounds,
            repetitions,
        )
    fastest = min(seconds["torch float32"], seconds["torch bfloat16"])
    return {
        "weights": sum(math.prod(shape) for shape in shapes),
        "active": ACTIVE,
        "seconds": seconds,
        "gain": fastest / seconds["rows"],
        "gain_of_bytes": fastest / seconds["rows, all active"],
        "gain_of_sparsity": seconds["rows, all active"] / seconds["rows"],
        "gain_over_int8": seconds["torch int8"] / seconds["rows"],
    }


def _products(weights: list[torch.Tensor], x: dict[int, torch.Tensor]) -> Callable[[], None]:
    def run() -> None:
        for w in weights:
            torch.mv(w, x[w.shape[1]])

    return run


def _int8(weights: list[torch.Tensor], x: dict[int, NDArray[np.int32]]) -> Callable[[], None]:
    """torch's integer product of int8 matrices: one row of counts at a time."""
    rows = {n: torch.from_numpy(counts.astype(np.int8))[None] for n, counts in x.items()}

    def run() -> None:
        for w in weights:
            torch._int_mm(rows[w.shape[1]], w.T)

    return run


def resident(weights: float = 2.5e8) -> float:
    """Bytes of memory per synapse of a program that has decoded a token, imports excluded."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as made:
        checkpoint, program = Path(made) / "checkpoint", Path(made) / "model.sbx"
        write(checkpoint, config_of(weights, hidden=1024, vocab=1000))
        compile_model(checkpoint, "loihi-like", out=program)
        command = [sys.executable, "-m", "benchmarks.resident", str(program)]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


def goals(kernels: dict[str, float], token: dict[str, Any], bytes_each: float) -> list[Goal]:
    """What the figures must be."""
    both = f"{THREADS} threads"
    far = kernels[f"1 to 7, from memory, {both}"]
    return [
        Goal(
            "1 to 7, in cache",
            kernels[f"1 to 7, in cache, {both}"] / 1e9,
            20,
            unit="G synops/s",
            at_least=True,
        ),
        Goal(
            "+-1, in cache",
            kernels[f"+-1, in cache, {both}"] / 1e9,
            40,
            unit="G synops/s",
            at_least=True,
        ),
        Goal("1 to 7, from memory", far / 1e9, 15, unit="G synops/s", at_least=True),
        Goal("of what memory can be read at", far / kernels[f"read, {both}"], 0.6, at_least=True),
        Goal("memory per synapse", bytes_each, 1.2, unit="bytes"),
        Goal("a token, times torch's fastest", token["gain"], 3, unit="x", at_least=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--weights", type=float, default=1e9, help="of the model (1e9)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contestant (5)")
    chosen = parser.parse_args()
    kernels = kernel(chosen.rounds)
    token = decode(chosen.weights, chosen.rounds)
    bytes_each = resident()
    reached = goals(kernels, token, bytes_each)
    if chosen.json:
        judged = [goal.as_json() for goal in reached]
        print(json.dumps({"kernel": kernels, "decode": token, "goals": judged}, indent=1))
        return
    print(f"{DENSE_N} x {DENSE_N}, 30 % active")
    for name, rate in kernels.items():
        print(
            f"  {name:34} {rate / 1e9:7.1f} {'GB/s' if name.startswith('read') else 'G synops/s'}"
        )
    print(f"\n{token['weights'] / 1e9:.2f} G weights, {100 * ACTIVE:.0f} % of the channels active")
    for name, seconds in token["seconds"].items():
        print(f"  {name:34} {seconds * 1e3:7.1f} ms per token")
    print(
        "  {gain:.2f} x: {gain_of_bytes:.2f} by bytes, {gain_of_sparsity:.2f} by silence".format(
            **token
        )
    )
    print()
    for goal in reached:
        print(f"  {goal.name:34} {goal.found:7.2f} {goal.unit:11} {goal.told}")


if __name__ == "__main__":
    main()

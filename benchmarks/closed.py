"""How fast tiles that closed are summed, by one thread and by several: python -m benchmarks.closed

A batch is what a linear's tiles leave when they close: 40 tiles of 512 x 256, as `loihi-like` and
`hala-point-like` cut wide linears, 82 % of the inputs active, weights from memory (batches in turn,
more than any cache holds). Through the engine's own kernel, messages and waking the other threads
included, compilation excluded. Of every batch the best of the rounds counts, because the machine
may have other work; so `rounds` may have to be larger on a busy one. Also two and four tokens of
each tile in one batch, whose weights come from memory once.
"""

import argparse
import json
import time
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np

from benchmarks.rows import payloads
from simulator.adders import add_up
from simulator.helpers import Helpers, threads
from simulator.hot import state as h
from simulator.hot.closed import AWAITED
from simulator.hot.rows import GROUP, scratch_size

N_PRE, N, PER_MESSAGE, ACTIVE = 512, 256, 8, 0.82
TILES = 40
BATCHES = 64
"""So many are 335 MB of weights."""


def batch_of(tiles: int, tokens: int, batches: int, seed: int = 0) -> tuple[Any, Any]:
    """What the engine holds, for so many batches of tiles; those of the first have closed."""
    rng = np.random.default_rng(seed)
    task = np.zeros((tiles * batches, h.N_TASK), np.int64)
    task[:, [h.NEURON_N, h.N_PRE, h.GROUPS]] = N, N_PRE, N_PRE // GROUP
    task[:, h.LIST] = h.NONE
    task[:, h.WEIGHT] = np.arange(len(task)) * N_PRE * N
    task[:, h.MANTISSA] = np.arange(len(task)) * N_PRE // GROUP * N
    fixed = SimpleNamespace(
        task=task,
        linear=np.full((1, 3), 48),
        weight=np.frombuffer(rng.bytes(len(task) * N_PRE * N), np.int8).copy(),
        mantissa=rng.integers(1, 32768, len(task) * N_PRE // GROUP * N).astype(np.int16),
        list_first=np.zeros(0, np.int64),
        list_neuron=np.zeros(0, np.uint16),
        list_value=np.zeros(0, np.int32),
        service=np.zeros(h.TOGETHER + 1, np.int64),
    )
    closed = tiles * tokens
    per_tile = N // PER_MESSAGE
    state = SimpleNamespace(
        reg=np.zeros(h.N_REGISTERS, np.int64),
        closed=np.zeros((closed, h.N_CLOSED), np.int64),
        closed_counts=np.array([payloads(rng, N_PRE, ACTIVE) for _ in range(closed)]),
        owed=np.arange(closed * per_tile),
        message=np.zeros((closed * per_tile, h.N_MESSAGE), np.int64),
        values=np.zeros((closed * per_tile, PER_MESSAGE), np.int64),
        row_sums=np.zeros(N + scratch_size(N), np.int64),
    )
    state.closed[:, h.C_OWED] = np.arange(closed) * per_tile
    state.closed[:, h.C_OWED_END] = state.closed[:, h.C_OWED] + per_tile
    state.message[:, h.M_INDEX] = np.arange(len(state.message)) % per_tile * PER_MESSAGE
    state.message[:, h.M_VALUE] = PER_MESSAGE
    return fixed, state


def close(state: Any, first: int, tiles: int) -> None:
    """The same counts close other tiles, from the `first` on."""
    closed = len(state.closed)
    state.closed[:, h.C_TASK] = first + np.arange(closed) % tiles
    state.message[:, h.M_STORE] = AWAITED - np.arange(len(state.message))
    state.reg[[h.R_CLOSED, h.R_OWED]] = closed, len(state.owed)


def measure(rounds: int, tiles: int = TILES, batches: int = BATCHES) -> dict[str, float]:
    """synops/s of each: the work of all batches over the sum of their best times."""
    found = {}
    for tokens in (1, 2, 4):
        fixed, state = batch_of(tiles, tokens, batches)
        synops = batches * int((state.closed_counts != 0).sum()) * N
        best = {n: np.full(batches, np.inf) for n in (1, threads())}
        helpers = {n: Helpers(n) for n in best}
        for _ in range(rounds):
            for n, seconds in best.items():
                for b in range(batches):
                    close(state, b * tiles, tiles)
                    began = time.perf_counter()
                    add_up(fixed, state, helpers[n])
                    seconds[b] = min(seconds[b], time.perf_counter() - began)
        for n, seconds in best.items():
            found[f"{tokens} tokens a tile, {n} threads"] = synops / seconds.sum()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=20, help="turns of every contestant (20)")
    chosen = parser.parse_args()
    found = measure(chosen.rounds)
    if chosen.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{TILES} tiles of {N_PRE} x {N}, {numba.config.NUMBA_NUM_THREADS} threads at most")
    for name, rate in found.items():
        print(f"  {name:28} {rate / 1e9:6.1f} G synops/s")


if __name__ == "__main__":
    main()

"""Things on a grid, nets whose dimension-ordered trees should be short: chips on a board, cores on
a chip.

Begins where the caller says and exchanges two places at a time, annealed: from accepting almost any
exchange to only good ones.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.hot.anneal import anneal
from compiler.passes.nets import Nets

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

HOT, COLD = 10.0, 0.05
"""Temperatures at first and at last, in bits of a net (their root mean square: of nets that differ
much in weight, the heavy ones decide)."""
SAMPLE = 10_000
"""Moves that tell how many go into the time that is left."""


@dataclass(frozen=True, slots=True)
class Grid:
    """width x height places of `per` slots each; room[slot] is the largest thing it takes."""

    width: int
    height: int
    per: int
    room: I64


def settle(
    nets: Nets,
    bits: F64,
    grid: Grid,
    size: I64,
    start: I64,
    moves: int,
    seed: int,
    seconds: float = np.inf,
) -> I64:
    """Slots of the things that may move; what lies outside (the host, a gateway) is at place 0.

    seconds: fewer moves are made if all would take longer.
    """
    if nets.n_nets == 0 or start.size < 2 or moves < 1 or seconds <= 0:
        return start
    slot_of = np.append(start, 0)
    thing_at = np.full(grid.room.size, -1, np.int64)
    thing_at[start] = np.arange(start.size)
    scale = float(np.sqrt((bits**2).mean()))
    own, sizes = nets.by_thing(), np.append(size, 0)

    def run(n: int, slots: I64, things: I64) -> None:
        anneal(
            nets.first, nets.pin, bits, *own, slots, things, sizes, grid.room,
            grid.width, grid.height, grid.per, n, HOT * scale, COLD * scale, seed,
        )  # fmt: skip

    if np.isfinite(seconds):
        run(1, slot_of.copy(), thing_at.copy())  # compiled, if it was not
        began = time.perf_counter()
        run(min(SAMPLE, moves), slot_of.copy(), thing_at.copy())
        each = (time.perf_counter() - began) / min(SAMPLE, moves)
        moves = min(moves, int(seconds / each))
    run(moves, slot_of, thing_at)
    return slot_of[:-1]

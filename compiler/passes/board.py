"""Which cores share a chip, and where on the board every chip's worth of them goes.

The analytic cut and a second one (compiler.passes.kahypar) are both placed; the one whose messages
put fewer bits on chip links is kept. Chips begin along a snake or a Hilbert curve, from either end,
whichever is best, and are then exchanged (compiler.passes.settle).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compiler.budget import Budget
from compiler.hot.anneal import links_of_nets
from compiler.passes import kahypar
from compiler.passes.nets import Nets, contracted
from compiler.passes.partition import Board, Partition
from compiler.passes.settle import Grid, settle
from hw_models.errors import Bug

I64 = NDArray[np.int64]

MOVES_PER_CHIP = 5_000
SHARE_OF_BUDGET = 0.5
SEED = 1


@dataclass(frozen=True, slots=True)
class Boarded:
    """The cut that was kept, placed; which one it is; bits x chip links per token."""

    parts: Partition
    cut: str  # "analytic" or "Mt-KaHyPar"
    link_bits: float


def board_links(parts: Partition, groups: Nets) -> float:
    """Bits x chip links per token with every group at its slot; the host is at slot 0."""
    y, x = np.divmod(np.append(np.array(parts.slot_of, np.int64), 0), parts.board.width)
    return float(links_of_nets(groups.first, groups.pin, x, y, parts.board.width) @ groups.far)


def on_board(parts: Partition, nets: Nets, budget: Budget) -> Boarded:
    """The better of two cuts, each well placed."""
    first, seconds = _groups(parts, nets), SHARE_OF_BUDGET * budget.left
    with ThreadPoolExecutor() as threads:  # the kernel lets go of Python's lock
        found = [threads.submit(_placed, parts, first, "analytic", seconds)]
        second = kahypar.second_cut(parts, nets, seconds)
        if second is not None:
            groups, seconds = _groups(second, nets), SHARE_OF_BUDGET * budget.left
            if _cut_bits(groups) < _cut_bits(first):
                found.append(threads.submit(_placed, second, groups, "Mt-KaHyPar", seconds))
        return min((each.result() for each in found), key=lambda boarded: boarded.link_bits)


def _groups(parts: Partition, nets: Nets) -> Nets:
    return contracted(nets, np.array(parts.group_of, np.int64), parts.n_groups)


def _cut_bits(groups: Nets) -> float:
    """Bits times chips beyond the first that every net touches: what no placement can avoid."""
    return float((np.diff(groups.first) - 1) @ groups.far)


def _placed(parts: Partition, groups: Nets, cut: str, seconds: float) -> Boarded:
    board = parts.board
    curves = [curve[: parts.n_groups] for curve in (board.curve, _hilbert(board))]
    starts = (parts, *(_along(parts, curve[::way]) for curve in curves for way in (1, -1)))
    start = min(starts, key=lambda p: board_links(p, groups))
    slots = settle(
        groups,
        groups.far,
        Grid(board.width, board.height, 1, np.array(board.room, np.int64)),
        np.array(parts.sizes, np.int64),
        np.array(start.slot_of, np.int64),
        MOVES_PER_CHIP * parts.n_groups,
        SEED,
        seconds,
    )
    better = replace(parts, slot_of=tuple(int(slot) for slot in slots))
    found = min(better, start, key=lambda p: board_links(p, groups))
    return Boarded(found, cut, board_links(found, groups))


def _along(parts: Partition, curve: list[int]) -> Partition:
    """Groups in their order along a curve, where rooms are equal; else as they are."""
    if len({parts.board.room[slot] for slot in curve}) > 1:
        return parts
    return replace(parts, slot_of=tuple(curve))


def _hilbert(board: Board) -> list[int]:
    """The slots of a board along a Hilbert curve over the square around it."""
    side = 1
    while side < max(board.width, board.height):
        side *= 2
    found = ((x, y) for x, y in _curve(side) if x < board.width and y < board.height)
    return [y * board.width + x for x, y in found]


def _curve(side: int) -> Iterator[tuple[int, int]]:
    """(x, y) along the Hilbert curve of a square (Hilbert, 1891)."""
    for step in range(side * side):
        x = y = 0
        rest, size = step, 1
        while size < side:
            right, upper = (rest // 2) & 1, (rest ^ (rest // 2)) & 1
            if upper == 0:
                if right:
                    x, y = size - 1 - x, size - 1 - y
                x, y = y, x
            x, y = x + size * right, y + size * upper
            rest, size = rest // 4, size * 2
        yield x, y


def verify(found: Boarded, nets: Nets) -> None:
    """Every chip on its own slot with room; bits on chip links recounted net by net."""
    parts = found.parts
    sizes = parts.sizes
    if len(set(parts.slot_of)) != parts.n_groups or set(parts.group_of) != set(range(len(sizes))):
        raise Bug("two groups on one chip, or an empty one", where="board")
    if any(size > parts.board.room[slot] for size, slot in zip(sizes, parts.slot_of, strict=True)):
        raise Bug("more cores on a chip than live there", where="board")
    y, x = np.divmod(np.array(parts.slot_of), parts.board.width)
    place = np.append(np.stack([x, y], axis=1)[list(parts.group_of)], [[0, 0]], axis=0)
    total = 0.0
    for net, far in enumerate(nets.far.tolist()):
        chips = place[nets.pin[nets.first[net] : nets.first[net + 1]]]
        columns: dict[int, list[int]] = {}
        for column, row in chips.tolist():
            columns.setdefault(column, [int(chips[0, 1])]).append(row)
        links = max(columns) - min(columns)
        total += far * (links + sum(max(rows) - min(rows) for rows in columns.values()))
    if abs(total - found.link_bits) > 1e-6 * max(1.0, total):
        raise Bug(f"{found.link_bits:.0f} bits on chip links, {total:.0f} recounted", where="board")

"""Cut the pipeline of logical cores into groups, each for one chip.

Neighbours in the pipeline talk most, and blocks of tiles are made to fill a chip
(compiler.passes.tile), so runs of consecutive cores keep the messages between chips few.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from compiler.graph import Graph
from compiler.passes.pack import Packing
from hw_models import si
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit
from hw_models.mesh import Mesh, mesh_of, snake

I64 = NDArray[np.int64]

SPARE_CHIPS = 1.01
"""Blocks are kept whole if that takes at most 1 % more chips than filling each to the brim."""


@dataclass(frozen=True, slots=True)
class Board:
    """The rectangle of chips that a program uses, at the host's corner.

    room[slot]: live cores of each chip, row by row; 0 where none may be used
    """

    mesh: Mesh
    width: int
    height: int
    room: tuple[int, ...]

    def chip(self, slot: int) -> int:
        """Number of the chip at a slot."""
        return slot // self.width * self.mesh.chips_w + slot % self.width

    @property
    def curve(self) -> list[int]:
        """Slots with room, each a neighbour of the one before where possible."""
        every = (y * self.width + x for x, y in snake(self.width, self.height))
        return [slot for slot in every if self.room[slot]]


@dataclass(frozen=True, slots=True)
class Partition:
    """group_of[logical core]: groups, numbered in pipeline order, each for one chip.

    slot_of[group]: a slot of the board with room for it, different ones; where to begin.
    """

    board: Board
    group_of: tuple[int, ...]
    slot_of: tuple[int, ...]

    @property
    def n_groups(self) -> int:
        return len(self.slot_of)

    @property
    def sizes(self) -> list[int]:
        found = Counter(self.group_of)
        return [found[g] for g in range(self.n_groups)]


def live_cores(mesh: Mesh, chip: Chip, number: int) -> list[int]:
    """Usable cores of one chip that are not dead, along its snake."""
    dead, every = set(chip.layout.dead_cores), mesh.cores_of(number)
    return [core for core in islice(every, chip.layout.usable_cores) if core not in dead]


def check_weights_fit(graph: Graph, chip: Chip) -> None:
    """Raises DoesNotFit, before any work, where weights alone fill more than all cores."""
    index = chip.core.index_bits
    bits = (lin.bits + (0 if lin.listed is None else index) for lin in graph.linears)
    weights = sum(-(-lin.synapses * b // 8) for lin, b in zip(graph.linears, bits, strict=True))
    least = -(-weights // chip.core.synapse_memory)
    have = sum(_rooms(chip))
    if least > have:
        raise _too_few(
            chip, least, have, f"too little synapse memory for {si.size(weights)} of weights: "
        )


def _rooms(chip: Chip) -> list[int]:
    """Live cores of every chip."""
    mesh = mesh_of(chip)
    lost = {mesh.chip_of(core) for core in chip.layout.dead_cores}
    most = chip.layout.usable_cores
    return [
        len(live_cores(mesh, chip, number)) if number in lost else most
        for number in range(mesh.n_chips)
    ]


def _too_few(chip: Chip, wanted: int, have: int, why: str = "") -> DoesNotFit:
    """wanted, have: cores."""
    chips = -(-wanted // chip.layout.usable_cores)
    width, height = chip.layout.chips
    return DoesNotFit(
        f"{why}{wanted} cores needed, {have} usable on {width * height} chips",
        where=chip.name,
        fix=f"at least {chips} chips: --set layout.chips={_square(chips)}, or larger cores",
    )


def board_for(n_cores: int, chip: Chip) -> Board:
    """The smallest near-square with room. Raises DoesNotFit when the system has too few cores."""
    mesh, every = mesh_of(chip), _rooms(chip)
    wanted = max(1, -(-n_cores // chip.layout.usable_cores))
    for width, height in _near_squares(wanted, mesh.chips_w, mesh.chips_h):
        rooms = [every[y * mesh.chips_w + x] for y in range(height) for x in range(width)]
        if sum(rooms) >= n_cores:
            return Board(mesh, width, height, tuple(rooms))
    raise _too_few(chip, n_cores, sum(every))


def _near_squares(wanted: int, most_w: int, most_h: int) -> Iterator[tuple[int, int]]:
    """Rectangles of growing area within the board; the first has room for `wanted` chips."""
    side = math.isqrt(wanted - 1) + 1
    width, height = min(side, most_w), min(side, most_h)
    width = min(most_w, max(width, -(-wanted // height)))
    height = min(most_h, max(1, -(-wanted // width)))
    while True:
        yield width, height
        if (width, height) == (most_w, most_h):
            return
        if height < most_h and (height <= width or width == most_w):
            height += 1
        else:
            width += 1


def _square(chips: int) -> str:
    side = math.isqrt(chips - 1) + 1
    return f"[{side}, {-(-chips // side)}]"


def partition(packing: Packing, chip: Chip) -> Partition:
    """Groups of consecutive cores, as large as the chips along the board's snake.

    Raises DoesNotFit when the system has too few live cores.
    """
    board = board_for(packing.n_cores, chip)
    curve = board.curve
    rooms = [board.room[slot] for slot in curve]
    full = _fill([1] * packing.n_cores, rooms)
    sizes = list(Counter(packing.block_of).values())  # blocks come one after another
    whole = _fill(sizes, rooms)
    best = whole if whole and len(set(whole)) <= SPARE_CHIPS * len(set(full)) else full
    used = sorted(set(best))
    number = {at: group for group, at in enumerate(used)}
    slots = tuple(curve[at] for at in used)
    return Partition(board, tuple(number[at] for at in best), slots)


def _fill(sizes: Sequence[int], rooms: Sequence[int]) -> list[int]:
    """Room of every core when whole runs of these sizes go into rooms one after another; only a
    run larger than any room is broken. Empty if the rooms do not suffice."""
    found: list[int] = []
    at, free, largest = 0, rooms[0], max(rooms)
    for size in sizes:
        left = size
        while left:
            if free == 0 or free < left <= largest:
                at += 1
                if at == len(rooms):
                    return []
                free = rooms[at]
                continue
            taken = min(left, free)
            found += [at] * taken
            left, free = left - taken, free - taken
    return found


def verify(found: Partition, packing: Packing, chip: Chip) -> None:
    """Every logical core has a group; groups fit into the live cores of different chips."""
    if len(found.group_of) != packing.n_cores:
        raise Bug(
            f"{len(found.group_of)} of {packing.n_cores} cores have a chip", where="partition"
        )
    board = found.board
    if board.width > board.mesh.chips_w or board.height > board.mesh.chips_h:
        raise Bug("the board is larger than the system", where="partition")
    for slot, room in enumerate(board.room):
        lost = sum(board.mesh.chip_of(core) == board.chip(slot) for core in chip.layout.dead_cores)
        every = board.mesh.chip_w * board.mesh.chip_h * board.mesh.cores_per_router
        if room > min(chip.layout.usable_cores, every - lost):
            raise Bug(f"chip {board.chip(slot)} has no {room} live cores", where="partition")
    if set(found.group_of) != set(range(found.n_groups)):
        raise Bug("a group without cores", where="partition")
    if len(set(found.slot_of)) != found.n_groups:
        raise Bug("two groups on one chip", where="partition")
    for group, size in Counter(found.group_of).items():
        if size > board.room[found.slot_of[group]]:
            raise Bug(f"more cores in group {group} than live on its chip", where="partition")

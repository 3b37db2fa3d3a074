"""Cut the pipeline of logical cores into chips: consecutive cores share a chip.

Neighbours in the pipeline talk most, so runs of consecutive cores keep the messages
between chips few. Chips are filled in the order of the board: a snake over a
near-square rectangle of it.
"""

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass

from compiler.passes.pack import Packing
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole system's routers: width x height, of which a chip spans chip_w x chip_h.

    core = router * cores_per_router + k, routers numbered row by row over the system.
    """

    width: int
    height: int
    chip_w: int
    chip_h: int
    cores_per_router: int

    def chip_of(self, core: int) -> int:
        """Number of the chip (row by row) that holds a core."""
        router = core // self.cores_per_router
        x, y = router % self.width // self.chip_w, router // self.width // self.chip_h
        return y * (self.width // self.chip_w) + x

    def cores_of(self, chip: int) -> Iterator[int]:
        """Cores of a chip along a snake of its routers."""
        cy, cx = divmod(chip, self.width // self.chip_w)
        for rx, ry in snake(self.chip_w, self.chip_h):
            router = (cy * self.chip_h + ry) * self.width + cx * self.chip_w + rx
            first = router * self.cores_per_router
            yield from range(first, first + self.cores_per_router)


@dataclass(frozen=True, slots=True)
class Partition:
    """chip_of[logical core]: number of the chip on the board, row by row."""

    grid: Grid
    chip_of: tuple[int, ...]


def grid_of(chip: Chip) -> Grid:
    """The routers of a target's whole system."""
    (cw, ch), (rw, rh) = chip.layout.chips, chip.layout.routers
    return Grid(cw * rw, ch * rh, rw, rh, chip.layout.cores_per_router)


def snake(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Every square of a rectangle, each a neighbour of the one before."""
    for y in range(height):
        row = range(width) if y % 2 == 0 else range(width - 1, -1, -1)
        yield from ((x, y) for x in row)


def live_cores(grid: Grid, chip: Chip, number: int, dead: Set[int]) -> list[int]:
    """Usable cores of one chip that are not dead, along its snake."""
    every = list(grid.cores_of(number))[: chip.layout.usable_cores]
    return [core for core in every if core not in dead]


def partition(packing: Packing, chip: Chip, dead: Set[int] = frozenset()) -> Partition:
    """Fill chip after chip. Raises DoesNotFit when the system has too few live cores."""
    grid = grid_of(chip)
    chips_w, chips_h = chip.layout.chips
    wanted = max(1, -(-packing.n_cores // chip.layout.usable_cores))
    side = min(chips_w, max(math.isqrt(wanted - 1) + 1, -(-wanted // chips_h)))
    chip_of: list[int] = []
    for width in range(side, chips_w + 1):  # wider when dead cores leave the square too small
        chip_of = []
        for x, y in snake(width, chips_h):
            number = y * chips_w + x
            room = len(live_cores(grid, chip, number, dead))
            chip_of += [number] * min(room, packing.n_cores - len(chip_of))
            if len(chip_of) == packing.n_cores:
                return Partition(grid, tuple(chip_of))
    raise DoesNotFit(
        f"{packing.n_cores} cores needed, {len(chip_of)} usable on {chips_w * chips_h} chips",
        where=chip.name,
        fix="a target with more chips or larger cores",
    )


def verify(found: Partition, packing: Packing, chip: Chip, dead: Set[int]) -> None:
    """Every logical core has a chip of the board; none holds more than its live cores."""
    if len(found.chip_of) != packing.n_cores:
        raise Bug(f"{len(found.chip_of)} of {packing.n_cores} cores have a chip", where="partition")
    columns, rows = chip.layout.chips
    per_router = chip.layout.cores_per_router
    for number in set(found.chip_of):
        if not 0 <= number < columns * rows:
            raise Bug(f"chip {number} is not on the board", where="partition")
        lost = sum(found.grid.chip_of(core) == number for core in dead)
        rw, rh = chip.layout.routers
        most = min(chip.layout.usable_cores, rw * rh * per_router)
        spare = rw * rh * per_router - most  # dead cores may be among those not usable anyway
        if found.chip_of.count(number) > most - max(0, lost - spare):
            raise Bug(f"more cores on chip {number} than live there", where="partition")

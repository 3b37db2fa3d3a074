"""Partition logical cores into chips and place them: consecutive cores in snakes.

The grid of routers runs over all chips of the system; a chip is a rectangle of it.
Cores of one router are numbered consecutively: core = router * cores_per_router + k.
"""

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass

from compiler.passes.pack import Packing
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit


@dataclass(frozen=True, slots=True)
class Grid:
    """The whole system's routers: width x height, of which a chip spans chip_w x chip_h."""

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


@dataclass(frozen=True, slots=True)
class Placement:
    """physical[logical core] = core number on the grid; the host sits beside router 0."""

    grid: Grid
    physical: tuple[int, ...]

    @property
    def host(self) -> int:
        return self.grid.width * self.grid.height * self.grid.cores_per_router

    @property
    def n_chips(self) -> int:
        return len({self.grid.chip_of(c) for c in self.physical})


def grid_of(chip: Chip) -> Grid:
    (cw, ch), (rw, rh) = chip.layout.chips, chip.layout.routers
    return Grid(cw * rw, ch * rh, rw, rh, chip.layout.cores_per_router)


def _snake(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Every square of a rectangle, each a neighbour of the one before."""
    for y in range(height):
        row = range(width) if y % 2 == 0 else range(width - 1, -1, -1)
        yield from ((x, y) for x in row)


def place(packing: Packing, chip: Chip, dead: Set[int] = frozenset()) -> Placement:
    """Fill chips one after another, each along a snake of its routers; skip dead cores.

    Raises DoesNotFit when the system has too few usable cores.
    """
    grid, layout = grid_of(chip), chip.layout
    chips_w, chips_h = layout.chips
    # a near-square rectangle of chips keeps chip-to-chip ways short
    wanted = -(-packing.n_cores // layout.usable_cores)
    side = min(chips_w, max(math.isqrt(wanted - 1) + 1 if wanted else 1, -(-wanted // chips_h)))
    cores: list[int] = []
    for cx, cy in _snake(side, chips_h):
        usable = 0
        for rx, ry in _snake(grid.chip_w, grid.chip_h):
            router = (cy * grid.chip_h + ry) * grid.width + cx * grid.chip_w + rx
            for k in range(grid.cores_per_router):
                core = router * grid.cores_per_router + k
                if usable < layout.usable_cores:
                    usable += 1
                    if core not in dead:
                        cores.append(core)
        if len(cores) >= packing.n_cores:
            return Placement(grid, tuple(cores[: packing.n_cores]))
    raise DoesNotFit(
        f"{packing.n_cores} cores needed, {len(cores)} usable on {side * chips_h} chips",
        where=chip.name,
        fix="a target with more chips or larger cores",
    )


def verify(placement: Placement, packing: Packing, chip: Chip, dead: Set[int]) -> None:
    """No core twice, none dead, no chip beyond its usable cores."""
    if len(set(placement.physical)) != packing.n_cores:
        raise Bug("two logical cores on one physical core", where="place")
    if dead & set(placement.physical):
        raise Bug("a dead core is used", where="place")
    per_chip: dict[tuple[int, int], int] = {}
    for core in placement.physical:
        router = core // chip.layout.cores_per_router
        columns = chip.layout.chips[0] * chip.layout.routers[0]
        x, y = (
            router % columns // chip.layout.routers[0],
            router // columns // chip.layout.routers[1],
        )
        per_chip[x, y] = per_chip.get((x, y), 0) + 1
        if x >= chip.layout.chips[0] or y >= chip.layout.chips[1]:
            raise Bug(f"core {core} lies outside the system", where="place")
    if any(n > chip.layout.usable_cores for n in per_chip.values()):
        raise Bug("more cores on a chip than it has", where="place")

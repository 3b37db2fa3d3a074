"""Place every chip's logical cores on its routers, along a snake; skip dead cores."""

from collections.abc import Set
from dataclasses import dataclass

from compiler.passes.partition import Grid, Partition, live_cores
from hw_models.chip import Chip
from hw_models.errors import Bug


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


def place(parts: Partition, chip: Chip, dead: Set[int] = frozenset()) -> Placement:
    """The n-th logical core of a chip takes the n-th live core of its snake."""
    cores = {
        number: iter(live_cores(parts.grid, chip, number, dead)) for number in set(parts.chip_of)
    }
    return Placement(parts.grid, tuple(next(cores[number]) for number in parts.chip_of))


def verify(placement: Placement, parts: Partition, chip: Chip, dead: Set[int]) -> None:
    """No core twice, none dead, each on the chip it was meant for, no chip beyond its cores."""
    if len(set(placement.physical)) != len(parts.chip_of):
        raise Bug("two logical cores on one physical core", where="place")
    if dead & set(placement.physical):
        raise Bug("a dead core is used", where="place")
    columns, (rw, rh) = chip.layout.chips[0], chip.layout.routers
    held: dict[int, int] = {}
    for core, number in zip(placement.physical, parts.chip_of, strict=True):
        y, x = divmod(core // chip.layout.cores_per_router, columns * rw)
        if number != y // rh * columns + x // rw:
            raise Bug(f"core {core} is not on chip {number}", where="place")
        held[number] = held.get(number, 0) + 1
    if any(n > chip.layout.usable_cores for n in held.values()):
        raise Bug("more cores on a chip than it has", where="place")

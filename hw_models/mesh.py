"""Geometry of a target's whole system: routers, the links between them, chips and their gateways.

Routers of a chip form a mesh of their own. Chips are joined by one link per side, all four at the
chip's gateway, its router (0, 0): a message for another chip goes to the gateway, from gateway to
gateway, and from the last gateway on to its cores (hierarchical addressing, as in Davies et al.,
IEEE Micro 38(1), 2018). The host sits beside the gateway of chip 0.

Routes are dimension-ordered, x before y, in every part: core to gateway, chip to chip, gateway to
core. Such routes cannot wait for each other in a circle: what comes out of a gateway moves east
along row 0 and south, what goes in moves west and north along column 0, and no route turns from
the former to the latter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hw_models.chip import Chip
from hw_models.events import LINKS

I64 = NDArray[np.int64]

EAST, WEST, NORTH, SOUTH = range(4)
STEP = ((1, 0), (-1, 0), (0, -1), (0, 1))


@dataclass(frozen=True)
class Mesh:
    """chips_w x chips_h chips of chip_w x chip_h routers, each with cores_per_router cores.

    Routers are numbered row by row over the whole system, core = router * cores_per_router + k;
    the host's number is n_cores. Links: one per core (into its router), the host's, four per
    router, four per chip (at its gateway), one to the host.
    """

    chips_w: int
    chips_h: int
    chip_w: int
    chip_h: int
    cores_per_router: int

    @property
    def width(self) -> int:
        return self.chips_w * self.chip_w

    @property
    def height(self) -> int:
        return self.chips_h * self.chip_h

    @property
    def n_routers(self) -> int:
        return self.width * self.height

    @property
    def n_chips(self) -> int:
        return self.chips_w * self.chips_h

    @property
    def n_cores(self) -> int:
        return self.n_routers * self.cores_per_router

    @property
    def host(self) -> int:
        return self.n_cores

    @property
    def host_in(self) -> int:
        return self.n_cores

    @property
    def first_mesh_link(self) -> int:
        return self.n_cores + 1

    @property
    def first_chip_link(self) -> int:
        return self.first_mesh_link + 4 * self.n_routers

    @property
    def host_out(self) -> int:
        return self.first_chip_link + 4 * self.n_chips

    @property
    def n_links(self) -> int:
        return self.host_out + 1

    def gateway(self, chip: int) -> int:
        """Router that all links of a chip meet at."""
        y, x = divmod(chip, self.chips_w)
        return y * self.chip_h * self.width + x * self.chip_w

    def chip_of(self, core: int) -> int:
        """Number of the chip (row by row) that holds a core."""
        return int(self.chips_of(np.array(core)))

    def chips_of(self, cores: NDArray[np.integer]) -> I64:
        """chip_of for many cores; the host counts to chip 0."""
        y, x = np.divmod(self.routers_of(cores), self.width)
        return np.asarray(y // self.chip_h * self.chips_w + x // self.chip_w, np.int64)

    def routers_of(self, cores: NDArray[np.integer]) -> I64:
        """Router of every core; the host's is that of chip 0's gateway."""
        return np.where(cores == self.host, 0, cores // self.cores_per_router).astype(np.int64)

    def cores_of(self, chip: int) -> Iterator[int]:
        """Cores of a chip, along a snake over its routers."""
        for x, y in snake(self.chip_w, self.chip_h):
            first = (self.gateway(chip) + y * self.width + x) * self.cores_per_router
            yield from range(first, first + self.cores_per_router)

    def grid_of(self, chip: int) -> I64:
        """Cores of a chip, router by router, row by row: in ascending order."""
        y, x = np.divmod(np.arange(self.chip_w * self.chip_h), self.chip_w)
        first = (self.gateway(chip) + y * self.width + x) * self.cores_per_router
        return np.asarray(first[:, None] + np.arange(self.cores_per_router), np.int64).ravel()

    @cached_property
    def links(self) -> "Links":
        """Where every link begins and ends, and its kind."""
        core = np.arange(self.n_cores)
        host_kind = LINKS.index("host")
        mesh, chips = _sides(self.width, self.height), _sides(self.chips_w, self.chips_h)
        y, x = np.divmod(np.arange(self.n_routers), self.width)
        at_border = [
            x % self.chip_w == self.chip_w - 1,
            x % self.chip_w == 0,
            y % self.chip_h == 0,
            y % self.chip_h == self.chip_h - 1,
        ]
        mesh = np.where(np.stack(at_border, axis=1), -1, mesh)
        gates = np.array([self.gateway(c) for c in range(self.n_chips)], np.int64)
        return Links(
            begin=np.concatenate(
                [
                    self.n_routers + core,
                    [self.n_routers + self.host],
                    np.repeat(np.arange(self.n_routers), 4),
                    np.repeat(gates, 4),
                    [0],
                ]
            ),
            end=np.concatenate(
                [
                    core // self.cores_per_router,
                    [0],
                    mesh.ravel(),
                    np.where(chips < 0, -1, gates[chips]).ravel(),
                    [self.n_routers + self.host],
                ]
            ),
            kind=np.concatenate(
                [
                    np.full(self.n_cores, LINKS.index("local")),
                    [host_kind],
                    _kinds(mesh, "x", "y"),
                    _kinds(chips, "chip_x", "chip_y"),
                    [host_kind],
                ]
            ),
        )


@dataclass(frozen=True, slots=True)
class Links:
    """By number of the link: the places where it begins and ends, and its kind (events.LINKS).

    A place is a router's number, or the number of routers plus that of a core or the host. A link
    that does not exist (beyond a border) has end and kind -1.
    """

    begin: I64
    end: I64
    kind: I64


def _sides(width: int, height: int) -> I64:
    """Neighbour to the east, west, north and south of every field of a rectangle; -1: none."""
    y, x = np.divmod(np.arange(width * height), width)
    found = []
    for dx, dy in STEP:
        inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
        found.append(np.where(inside, (y + dy) * width + x + dx, -1))
    return np.stack(found, axis=1)


def _kinds(neighbours: I64, along_x: str, along_y: str) -> I64:
    kind = np.array([LINKS.index(k) for k in (along_x, along_x, along_y, along_y)])
    return np.where(neighbours < 0, -1, kind).ravel()


def mesh_of(chip: Chip) -> Mesh:
    """The whole system of a target."""
    return Mesh(*chip.layout.chips, *chip.layout.routers, chip.layout.cores_per_router)


def snake(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Every square of a rectangle, each a neighbour of the one before."""
    for y in range(height):
        row = range(width) if y % 2 == 0 else range(width - 1, -1, -1)
        yield from ((x, y) for x in row)

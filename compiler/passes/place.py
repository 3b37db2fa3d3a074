"""Place each chip's cores on its routers: along a snake, then exchanged (passes.settle)."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.budget import Budget
from compiler.passes.nets import Nets, within
from compiler.passes.partition import Partition, live_cores
from compiler.passes.settle import Grid, settle
from hw_models.chip import Chip
from hw_models.errors import Bug
from hw_models.mesh import Mesh, mesh_of

I64 = NDArray[np.int64]

MOVES_PER_CORE = 100
SHARE_OF_BUDGET = 0.5
SEED = 1


@dataclass(frozen=True, slots=True)
class Placement:
    """physical[logical core] = core number on the mesh."""

    mesh: Mesh
    physical: tuple[int, ...]

    @property
    def host(self) -> int:
        return self.mesh.host

    @property
    def n_chips(self) -> int:
        return len(np.unique(self.mesh.chips_of(np.array(self.physical, np.int64))))


def place(
    parts: Partition,
    nets: Nets,
    chip: Chip,
    budget: Budget,
) -> Placement:
    """Cores on the routers of their chips: fewer bits x links of the mesh."""
    mesh = mesh_of(chip)
    group_of = np.array(parts.group_of, np.int64)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(parts.sizes)[:-1])
    physical = np.empty(group_of.size, np.int64)

    def fill(group: int, local: Nets) -> None:
        number = parts.board.chip(parts.slot_of[group])
        cores = mesh.grid_of(number)
        live = np.searchsorted(cores, live_cores(mesh, chip, number))
        room = np.zeros(cores.size, np.int64)
        room[live] = 1
        grid = Grid(mesh.chip_w, mesh.chip_h, mesh.cores_per_router, room)
        start = live[: members[group].size]
        ones, moves = np.ones(start.size, np.int64), MOVES_PER_CORE * start.size
        found = settle(local, local.near, grid, ones, start, moves, SEED + group, seconds)
        physical[members[group]] = cores[found]

    workers = os.cpu_count() or 1
    seconds = SHARE_OF_BUDGET * budget.left * workers / parts.n_groups  # of one chip
    with ThreadPoolExecutor(workers) as threads:
        each = within(nets, group_of, parts.n_groups)
        list(threads.map(fill, range(parts.n_groups), each))
    return Placement(mesh, tuple(int(core) for core in physical))


def verify(placement: Placement, parts: Partition, chip: Chip) -> None:
    """No core twice, none dead, each on the chip it was meant for, no chip beyond its cores."""
    if len(set(placement.physical)) != len(parts.group_of):
        raise Bug("two logical cores on one physical core", where="place")
    if set(chip.layout.dead_cores) & set(placement.physical):
        raise Bug("a dead core is used", where="place")
    columns, (rw, rh) = chip.layout.chips[0], chip.layout.routers
    held: dict[int, int] = {}
    for core, group in zip(placement.physical, parts.group_of, strict=True):
        y, x = divmod(core // chip.layout.cores_per_router, columns * rw)
        slot_y, slot_x = divmod(parts.slot_of[group], parts.board.width)
        if (x // rw, y // rh) != (slot_x, slot_y):
            raise Bug(f"core {core} is not on the chip of group {group}", where="place")
        held[group] = held.get(group, 0) + 1
    if any(n > chip.layout.usable_cores for n in held.values()):
        raise Bug("more cores on a chip than it has", where="place")

"""Given where cores lie: the least that any routing of the nets puts on links."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.hot.anneal import links_of_nets
from compiler.passes.nets import Nets, contracted, within
from compiler.passes.place import Placement

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


def mesh_trees(nets: Nets, placement: Placement) -> tuple[int, int]:
    """Bits x links of the mesh per token: of our trees, and of the shortest trees there can be.

    A tree is no shorter than half its bounding box's rim, nor than its routers less one.
    """
    mesh = placement.mesh
    physical = np.array(placement.physical, np.int64)
    chips, group_of = np.unique(mesh.chips_of(physical), return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of)
    achieved = least = 0.0
    for local, cores in zip(
        within(nets, group_of, chips.size), np.split(physical[order], np.cumsum(sizes)[:-1]),
        strict=True,
    ):  # fmt: skip
        if local.n_nets == 0:
            continue
        y, x = np.divmod(mesh.routers_of(cores), mesh.width)
        x, y = np.append(x % mesh.chip_w, 0), np.append(y % mesh.chip_h, 0)
        ours = links_of_nets(local.first, local.pin, x, y, mesh.chip_w)
        achieved += float(ours @ local.near)
        least += float(_shortest(local, x, y, mesh.chip_w) @ local.near)
    return round(achieved), int(np.floor(least * (1 - 1e-12)))


def _shortest(nets: Nets, x: I64, y: I64, width: int) -> I64:
    """max(half the rim of the bounding box, different places - 1) of every net."""
    starts = nets.first[:-1]
    px, py = x[nets.pin], y[nets.pin]
    rim = [np.maximum.reduceat(p, starts) - np.minimum.reduceat(p, starts) for p in (px, py)]
    spots = np.unique(np.stack([nets.net_of_pin, py * width + px]), axis=1)[0]
    links: I64 = np.maximum(rim[0] + rim[1], np.bincount(spots, minlength=nets.n_nets) - 1)
    return links


def busiest_chip_link(nets: Nets, placement: Placement) -> tuple[int, int]:
    """Bits per token on the chip link with the most; and the least that it can be with the chips
    where they are: what must enter or leave some part of the board, over the links that do.
    """
    mesh = placement.mesh
    physical = np.array(placement.physical, np.int64)
    chips, group_of = np.unique(mesh.chips_of(physical), return_inverse=True)
    groups = contracted(nets, group_of.astype(np.int64), chips.size)
    y, x = np.divmod(np.append(chips, 0), mesh.chips_w)
    load: dict[tuple[int, int, str], float] = {}
    cuts = _Cuts.of(int(x.max()) + 1, int(y.max()) + 1)
    for net, bits in enumerate(groups.far.tolist()):
        pins = groups.pin[groups.first[net] : groups.first[net + 1]]
        px, py = x[pins], y[pins]
        _add_tree(load, px.tolist(), py.tolist(), bits)
        cuts.add(px, py, bits)
    return round(max(load.values(), default=0.0)), int(cuts.least(mesh.chips_w, mesh.chips_h))


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Bits that must enter and leave parts of a board, float64[height, width] each: every chip by
    itself, and every rectangle between the host's corner and a chip."""

    into_chip: F64
    out_of_chip: F64
    into_corner: F64
    out_of_corner: F64

    @classmethod
    def of(cls, width: int, height: int) -> "_Cuts":
        return cls(*(np.zeros((height, width)) for _ in range(4)))

    def add(self, x: I64, y: I64, bits: float) -> None:
        """A net: its source, then its sinks; the host is on the first chip."""
        away = (x != x[0]) | (y != y[0])
        if not away.any():
            return
        sinks = np.zeros(self.into_chip.shape, bool)
        sinks[y[away], x[away]] = True
        self.into_chip[sinks] += bits
        self.out_of_chip[y[0], x[0]] += bits
        some_inside = np.logical_or.accumulate(np.logical_or.accumulate(sinks, 0), 1)
        some_outside = np.ones_like(sinks)
        some_outside[int(y[away].max()) :, int(x[away].max()) :] = False
        source_inside = np.zeros_like(sinks)
        source_inside[y[0] :, x[0] :] = True
        self.into_corner[some_inside & ~source_inside] += bits
        self.out_of_corner[some_outside & source_inside] += bits

    def least(self, chips_w: int, chips_h: int) -> float:
        """Bits of the fullest cut over its links, on a system of chips_w x chips_h chips."""
        height, width = self.into_chip.shape
        y, x = np.divmod(np.arange(height * width).reshape(height, width), width)
        sides = (x > 0) * 1 + (y > 0) * 1 + (x + 1 < chips_w) * 1 + (y + 1 < chips_h) * 1
        rim = (y + 1) * (x + 1 < chips_w) + (x + 1) * (y + 1 < chips_h)
        found = [
            traffic / np.maximum(1, links)
            for traffic, links in (
                (self.into_chip, sides),
                (self.out_of_chip, sides),
                (self.into_corner, rim),
                (self.out_of_corner, rim),
            )
        ]
        return float(np.max(found, initial=0.0))


def _add_tree(
    load: dict[tuple[int, int, str], float], x: list[int], y: list[int], bits: float
) -> None:
    """Put a net's bits on every link of its tree: along its source's row, then every column."""
    row, start = y[0], x[0]
    for column in range(start, max(x)):
        load[column, row, "east"] = load.get((column, row, "east"), 0.0) + bits
    for column in range(min(x), start):
        load[column, row, "west"] = load.get((column, row, "west"), 0.0) + bits
    reach: dict[int, list[int]] = {}
    for column, at in zip(x, y, strict=True):
        reach.setdefault(column, []).append(at)
    for column, rows in reach.items():
        for at in range(row, max(rows)):
            load[column, at, "south"] = load.get((column, at, "south"), 0.0) + bits
        for at in range(min(rows), row):
            load[column, at, "north"] = load.get((column, at, "north"), 0.0) + bits

"""Cut every linear into tiles that one core can hold."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from compiler.audit.cover import gap_or_overlap
from compiler.graph import Graph, Linear
from compiler.lists import Lists
from compiler.passes import arrays, strips
from compiler.passes.aspect import GROUP, Load, Shape, choose, group_bytes, groups, shapes
from compiler.passes.encode import SiteCode
from compiler.statistics import SiteStats
from compiler.tasks import Tile
from hw_models.chip import Chip
from hw_models.errors import Bug


def partial_bits(bound: float) -> int:
    """Signed width of a partial sum when the site's counts sum to at most `bound` (DESIGN 3.3)."""
    return 1 + math.ceil(math.log2(127 * 32767 * bound))


def sum_bits(linear: Linear, bound: float) -> int:
    """The same of a linear whose weights may be wider than 8 bits."""
    return partial_bits(bound) if linear.bits == 8 else partial_bits(bound) + linear.bits - 8


def tile(
    graph: Graph,
    codes: tuple[SiteCode, ...],
    chip: Chip,
    statistics: SiteStats,
    lists: Lists | None = None,
) -> tuple[Tile, ...]:
    """Tiles of every linear in the order of passes.aspect; every chip's worth of them is a block.

    Raises DoesNotFit when not even one neuron with one group of inputs fits a core.
    """
    by_site = {code.site: code for code in codes}
    tiles: list[Tile] = []
    filled = 0.0  # cores so far
    for linear in graph.linears:
        if not linear.plain:
            beside = strips.neuron_bytes(graph, linear, chip)
            for each in strips.cut(linear, (lists or {})[linear.name], chip, beside):
                tiles.append(replace(each, block=int(filled / chip.layout.usable_cores)))
                filled += _share(tiles[-1], linear, chip)
            continue
        fitting = arrays.shapes(linear, chip) if chip.array else shapes(linear, chip)
        if not (chip.abilities.vector or chip.array):  # cores of neurons send no sums if they can
            fitting = [shape for shape in fitting if shape[0] == linear.n_pre] or fitting
        shape = choose(linear, fitting, _load(by_site[linear.site], chip, statistics), chip)
        for pre, n_pre, post, n_post in _cut(linear, shape):
            block = int(filled / chip.layout.usable_cores)
            tiles.append(Tile(linear.name, pre, n_pre, post, n_post, groups(n_pre), block))
            filled += _share(tiles[-1], linear, chip)
    return tuple(tiles)


def _share(tile: Tile, linear: Linear, chip: Chip) -> float:
    """Of a core; two tiles of more than half share none."""
    core = chip.core
    if chip.array is not None:
        return arrays.share(tile, chip)
    share = max(
        strips.synapse_bytes(tile, linear, chip) / core.synapse_memory,
        tile.axons / core.in_axons,
        tile.n_post / core.neurons,
        group_bytes(tile.groups, tile.n_post, core.token_slots) / core.state_memory,
    )
    return 1.0 if share > 0.5 else share


def _load(code: SiteCode, chip: Chip, statistics: SiteStats) -> Load:
    width = chip.links["x"].flit_bits

    def in_flits(bits: int) -> int:
        return -(-bits // width) * width

    spike, partial = chip.formats["spike"], chip.formats["partial"]
    per = partial.values_per_message
    full = in_flits(partial.header_bits + per * partial_bits(code.bound))
    spike_bits = in_flits(spike.header_bits + code.payload_bits)
    return Load(statistics.rate(code.coding, code.dense), spike_bits, full / per)


def _cut(linear: Linear, shape: Shape) -> Iterator[tuple[int, int, int, int]]:
    """(pre, n_pre, post, n_post): strip by strip, row by row."""
    rows, columns = _ranges(linear.n_pre, shape.width), _ranges(linear.n_post, shape.height)
    for first in range(0, len(columns), shape.along):
        for pre, n_pre in rows:
            for post, n_post in columns[first : first + shape.along]:
                yield pre, n_pre, post, n_post


def _ranges(n: int, size: int) -> list[tuple[int, int]]:
    return [(lo, min(size, n - lo)) for lo in range(0, n, size)]


def verify(tiles: tuple[Tile, ...], graph: Graph, chip: Chip, lists: Lists | None = None) -> None:
    """Each tile fits a core and each synapse lies in exactly one tile (counted, not derived)."""
    of: dict[str, list[tuple[int, int, int, int]]] = {lin.name: [] for lin in graph.linears}
    for t in tiles:
        of[t.linear].append((t.pre, t.n_pre, t.post, t.n_post))
    for linear in graph.linears:
        wrong = gap_or_overlap(linear.n_pre, linear.n_post, np.array(of[linear.name], np.int64))
        if wrong:
            raise Bug(wrong, where=linear.name)
        if linear.listed is not None:
            own = [t for t in tiles if t.linear == linear.name]
            strips.verify(linear, (lists or {})[linear.name], own)
    linears = {lin.name: lin for lin in graph.linears}
    aligned = {lin.name: lin.align for lin in graph.linears}
    for t in tiles:
        if t.pre % GROUP or t.post % aligned[t.linear] or t.n_post % aligned[t.linear]:
            raise Bug(f"tile at ({t.pre}, {t.post}) cuts a group or a channel", where=t.linear)
        size = strips.synapse_bytes(t, linears[t.linear], chip)
        if size > chip.core.synapse_memory or t.axons > chip.core.in_axons:
            raise Bug(f"tile {t.n_pre}x{t.n_post} is larger than a core", where=t.linear)

"""Cut every linear into tiles that one core can hold."""

import math
from collections.abc import Iterator

from compiler.graph import Graph, Linear
from compiler.passes.encode import SiteCode
from compiler.tasks import Tile
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit

GROUP = 128
"""Inputs per mantissa; tiles begin and end on its borders (DESIGN 3.3)."""


def groups(n_pre: int) -> int:
    return -(-n_pre // GROUP)


def tile_state_bytes(n_pre: int, n_post: int, token_slots: int) -> int:
    """Mantissas (int16) and accumulators (int32 per slot) of a tile."""
    return n_post * groups(n_pre) * (2 + 4 * token_slots)


def partial_bits(bound: float) -> int:
    """Signed width of a partial sum when the site's counts sum to at most `bound` (DESIGN 3.3)."""
    return 1 + math.ceil(math.log2(127 * 32767 * bound))


def tile(
    graph: Graph, codes: tuple[SiteCode, ...], chip: Chip, spikes_per_channel: float
) -> tuple[Tile, ...]:
    """Tiles of every linear, column blocks outermost: the aspect with the fewest bits sent.

    Raises DoesNotFit when not even one neuron with one group of inputs fits a core.
    """
    tiles: list[Tile] = []
    by_site = {code.site: code for code in codes}
    for linear in graph.linears:
        width, height = _aspect(linear, by_site[linear.site], chip, spikes_per_channel)
        tiles += [
            Tile(linear.name, pre, n_pre, post, n_post, groups(n_pre))
            for post, n_post in _cut(linear.n_post, height)
            for pre, n_pre in _cut(linear.n_pre, width)
        ]
    return tuple(tiles)


def _cut(n: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(size, n - start)) for start in range(0, n, size))


def _tallest(linear: Linear, width: int, chip: Chip) -> int:
    """Most neurons a tile of `width` inputs can have; a multiple of the linear's align."""
    core = chip.core
    fits = min(
        core.synapse_memory // width,
        core.state_memory // tile_state_bytes(width, 1, core.token_slots),
        core.neurons,
        linear.n_post,
    )
    return fits // linear.align * linear.align


def _aspect(
    linear: Linear, code: SiteCode, chip: Chip, spikes_per_channel: float
) -> tuple[int, int]:
    """(inputs, neurons) of a tile: fewest tiles first, then fewest bits delivered per token."""
    spike = chip.formats["spike"]
    partial = chip.formats["partial"]
    spike_bits = linear.n_pre * spikes_per_channel * (spike.header_bits + code.payload_bits)
    partial_bits_each = partial.header_bits / partial.values_per_message + partial_bits(code.bound)
    best: tuple[float, float] | None = None
    chosen = (0, 0)
    for n_groups in range(1, groups(linear.n_pre) + 1):
        width = min(n_groups * GROUP, linear.n_pre)
        if width > chip.core.in_axons:
            break
        tallest = _tallest(linear, width, chip)
        if tallest < linear.align:
            break
        columns, rows = -(-linear.n_post // tallest), -(-linear.n_pre // width)
        per_column = -(-linear.n_post // (columns * linear.align)) * linear.align
        cost = (columns * rows, spike_bits * columns + partial_bits_each * linear.n_post * rows)
        if best is None or cost < best:
            best, chosen = cost, (width, per_column)
    if best is None:
        need = min(GROUP, linear.n_pre) * linear.align
        raise DoesNotFit(
            f"{min(GROUP, linear.n_pre)} inputs of one neuron need {need} bytes of synapse memory, "
            f"{tile_state_bytes(GROUP, linear.align, chip.core.token_slots)} of state and "
            f"{min(GROUP, linear.n_pre)} in-axons; a core of {chip.name} has "
            f"{chip.core.synapse_memory}, {chip.core.state_memory} and {chip.core.in_axons}",
            where=linear.name,
            fix="--set core.synapse_memory=... or a target with larger cores",
        )
    return chosen


def verify(tiles: tuple[Tile, ...], graph: Graph, chip: Chip) -> None:
    """Each tile fits a core and each synapse lies in exactly one tile (counted, not derived)."""
    for linear in graph.linears:
        mine = [t for t in tiles if t.linear == linear.name]
        # sweep the rows: between two borders, the tiles present must cover the inputs once
        borders = sorted({t.post for t in mine} | {t.post + t.n_post for t in mine})
        if not borders or (borders[0], borders[-1]) != (0, linear.n_post):
            raise Bug("tiles do not span the neurons", where=linear.name)
        for post in borders[:-1]:
            row = sorted((t.pre, t.n_pre) for t in mine if t.post <= post < t.post + t.n_post)
            reached = 0
            for pre, n_pre in row:
                if pre != reached:
                    raise Bug(f"gap or overlap at ({reached}, {post})", where=linear.name)
                reached = pre + n_pre
            if reached != linear.n_pre:
                raise Bug(f"inputs end at {reached} for neuron {post}", where=linear.name)
        for t in mine:
            if t.pre % GROUP or t.post % linear.align or t.n_post % linear.align:
                raise Bug(f"tile at ({t.pre}, {t.post}) cuts a group or a channel", where=t.linear)
            if t.n_pre * t.n_post > chip.core.synapse_memory or t.n_pre > chip.core.in_axons:
                raise Bug(f"tile {t.n_pre}x{t.n_post} is larger than a core", where=t.linear)

"""The shape of a linear's tiles: what its spikes and partial sums cost on their way.

A tile of `width` inputs and `height` neurons cuts the matrix into rows x columns tiles. A channel's
spikes go to every column; every neuron's sum is made of `rows` partial sums that travel to the
neuron's home. Wide tiles save partial sums, tall ones spikes.

Chips take runs of consecutive tiles, so the order of the tiles decides what crosses between chips:
a channel's spikes to every chip with one of its columns, a neuron's sum from every chip with one of
its rows. Tiles are numbered strip by strip, each `along` columns wide, row by row within a strip:
one column wide, a chip takes whole columns; as wide as the matrix, whole rows.

The estimate counts bits x hops with the target's message formats and flits. A chip link counts as
many hops as it is slower per bit than a link of the mesh.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from compiler.graph import Linear
from hw_models.chip import Chip
from hw_models.errors import DoesNotFit

GROUP = 128
"""Inputs per mantissa; tiles begin and end on its borders (DESIGN 3.3)."""

SPARE_TILES = 1.03
"""Shapes with up to 3 % more tiles than the fewest possible may compete."""


@dataclass(frozen=True, slots=True)
class Shape:
    """width x height synapses in a tile; strips of `along` columns of tiles."""

    width: int
    height: int
    along: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a linear sends per token: spikes per channel, bits of a spike and of a partial sum."""

    rate: float
    spike_bits: int
    sum_bits: float  # a neuron's share of a full message


def groups(n_pre: int) -> int:
    return -(-n_pre // GROUP)


def tile_state_bytes(n_pre: int, n_post: int, token_slots: int) -> int:
    """Mantissas (int16) and accumulators (int32 per slot) of a tile."""
    return group_bytes(groups(n_pre), n_post, token_slots)


def group_bytes(n_groups: int, n_post: int, token_slots: int) -> int:
    """The same of a tile with so many groups of inputs."""
    return n_post * n_groups * (2 + 4 * token_slots)


def shapes(linear: Linear, chip: Chip) -> list[tuple[int, int]]:
    """(inputs, neurons) of tiles of which nearly the fewest are needed.

    Raises DoesNotFit when not even one neuron with one group of inputs fits a core.
    """
    found = list(dict.fromkeys(_shapes(linear, chip)))
    if not found:
        raise _too_small(linear, chip)
    return nearly_fewest(found, lambda w, h: _rows(linear, w) * _columns(linear, h))


def nearly_fewest(
    found: list[tuple[int, int]], number: Callable[[int, int], int]
) -> list[tuple[int, int]]:
    """Those that need at most SPARE_TILES times as many (tiles, arrays) as the best."""
    fewest = min(number(w, h) for w, h in found)
    return [(w, h) for w, h in found if number(w, h) <= SPARE_TILES * fewest]


def choose(linear: Linear, fitting: Iterable[tuple[int, int]], load: Load, chip: Chip) -> Shape:
    """The shape with the fewest bits x hops."""
    return min(
        (shape for w, h in fitting for shape in _strips(linear, w, h, chip)),
        key=lambda shape: _bit_hops(linear, shape, load, chip),
    )


def _rows(linear: Linear, width: int) -> int:
    return -(-linear.n_pre // width)


def _columns(linear: Linear, height: int) -> int:
    return -(-linear.n_post // height)


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


def _shapes(linear: Linear, chip: Chip) -> Iterator[tuple[int, int]]:
    """(inputs, neurons) for every number of groups; blocks of equal size within a row or column."""
    for n_groups in range(1, groups(linear.n_pre) + 1):
        if min(n_groups * GROUP, linear.n_pre) > chip.core.in_axons:
            return
        rows = -(-groups(linear.n_pre) // n_groups)
        width = min(-(-groups(linear.n_pre) // rows) * GROUP, linear.n_pre)
        tallest = _tallest(linear, width, chip)
        if tallest < linear.align:
            return
        columns = -(-linear.n_post // tallest)
        yield width, -(-linear.n_post // (columns * linear.align)) * linear.align


def _strips(linear: Linear, width: int, height: int, chip: Chip) -> Iterator[Shape]:
    """One column wide, so that chips take whole columns; or near-equal strips too wide for that,
    though not wider than a chip."""
    rows, columns = _rows(linear, width), _columns(linear, height)
    widest = chip.layout.usable_cores
    yield Shape(width, height, 1)
    widths = dict.fromkeys(-(-columns // n) for n in range(-(-columns // widest), columns + 1))
    yield from (Shape(width, height, along) for along in widths if along * rows > widest)


def _bit_hops(linear: Linear, shape: Shape, load: Load, chip: Chip) -> float:
    rows, columns = _rows(linear, shape.width), _columns(linear, shape.height)
    per_router, sides = chip.layout.cores_per_router, sum(chip.layout.routers)
    on_chip = min(chip.layout.usable_cores, rows * columns)
    if shape.along == 1 and rows <= on_chip:  # whole columns
        own_rows, own_columns = float(rows), on_chip / rows
        reached = columns / own_columns
    else:  # some rows of one strip
        own_rows, own_columns = on_chip / shape.along, float(shape.along)
        reached = float(-(-columns // shape.along))
    far = _slowness(chip)
    # a channel's tree passes the routers that hold one of its columns, and ends in their cores
    tree = min(on_chip / per_router, own_columns) + own_columns
    spikes = linear.n_pre * load.rate * load.spike_bits * reached * (tree + far)
    # sums go to a home among their tiles; from several chips, first to a sum on each
    home = chip.core.state_memory // 2 // (8 * chip.core.token_slots + 8)
    around = min(home / shape.height * own_rows, on_chip) / per_router
    # to another chip: half a chip's sides to the gateway, as much behind it, and the link
    elsewhere = (rows / own_rows - 1) * (sides + far)
    hops = rows * (1 + 2 / 3 * math.sqrt(around)) + elsewhere
    return spikes + linear.n_post * load.sum_bits * hops


def _slowness(chip: Chip) -> float:
    """Time per bit of a chip link over that of a link of the mesh."""
    far, near = chip.links["chip_x"], chip.links["x"]
    return (far.flit_ps / far.flit_bits) / (near.flit_ps / near.flit_bits)


def _too_small(linear: Linear, chip: Chip) -> DoesNotFit:
    """Names what the smallest tile lacks: one group of inputs of the neurons that stay together."""
    width, neurons, core = min(GROUP, linear.n_pre), linear.align, chip.core
    needs = {
        "bytes of synapse memory": (width * neurons, core.synapse_memory),
        "bytes of state memory": (
            tile_state_bytes(width, neurons, core.token_slots),
            core.state_memory,
        ),
        "in-axons": (width, core.in_axons),
        "neurons": (neurons, core.neurons),
    }
    short = {what: pair for what, pair in needs.items() if pair[0] > pair[1]}
    one = "one neuron" if neurons == 1 else f"{neurons} neurons that belong together"
    return DoesNotFit(
        f"{width} inputs of {one} need "
        + " and ".join(f"{need} {what}" for what, (need, _) in short.items())
        + f"; a core of {chip.name} has "
        + " and ".join(str(have) for _, have in short.values()),
        where=linear.name,
        fix=f"--set {_KEY[next(iter(short))]}, or a target with larger cores",
    )


_KEY = {
    "bytes of synapse memory": "core.synapse_memory=...",
    "bytes of state memory": "core.state_memory=...",
    "in-axons": "core.in_axons=...",
    "neurons": "core.neurons=...",
}

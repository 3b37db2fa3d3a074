"""Crossbars: cut every linear into tiles that fill whole arrays of a core.

A tile of n_pre inputs and n_post neurons takes ceil(n_pre / rows) x ceil(n_post / neurons of
an array) arrays: rows of arrays see the same inputs, columns of arrays hold the same neurons.
An array serves one tile, so that a tile's synapse memory is that of its arrays.
"""

import math
from collections.abc import Iterator

from compiler.graph import Linear
from compiler.passes.aspect import GROUP, groups, nearly_fewest
from compiler.tasks import Dataflow, Tile
from hw_models.chip import Array, Chip
from hw_models.errors import Bug, DoesNotFit

COUNT_BYTES = 4


def array_of(chip: Chip) -> Array:
    """The arrays of a crossbar target."""
    if chip.array is None:
        raise Bug("no crossbar", where=chip.name)
    return chip.array


def n_arrays(tile: Tile, array: Array) -> int:
    return -(-tile.n_pre // array.rows) * -(-tile.n_post // array.neurons)


def synapse_bytes(tile: Tile, chip: Chip) -> int:
    """Weights that the tile's arrays could hold: none of them serves another tile."""
    array = array_of(chip)
    return n_arrays(tile, array) * array.weights


def state_bytes(tile: Tile, chip: Chip) -> int:
    """Mantissas (int16), one set of accumulators (int32, filled when a token closes), and the
    counts of every token slot."""
    counts = COUNT_BYTES * chip.core.token_slots * tile.n_pre
    return tile.n_post * groups(tile.n_pre) * (2 + 4) + counts


def share(tile: Tile, chip: Chip) -> float:
    """Of a core's arrays; two tiles of more than half share none."""
    found = n_arrays(tile, array_of(chip)) / array_of(chip).per_core
    return 1.0 if found > 0.5 else found


def shapes(linear: Linear, chip: Chip) -> list[tuple[int, int]]:
    """(inputs, neurons) of tiles that need nearly the fewest arrays, and then cores.

    Raises DoesNotFit when not even one array's worth of neurons fits a core.
    """
    found = list(dict.fromkeys(_aspects(linear, chip)))
    if not found:
        raise _too_large(linear, chip)
    array = array_of(chip)

    def arrays(width: int, height: int) -> int:
        """Of all tiles: whole ones, and those at the far ends."""
        rows = [width] * (linear.n_pre // width) + [linear.n_pre % width]
        columns = [height] * (linear.n_post // height) + [linear.n_post % height]
        down = sum(-(-n // array.rows) for n in rows)
        return down * sum(-(-n // array.neurons) for n in columns)

    def tiles(width: int, height: int) -> int:
        return -(-linear.n_pre // width) * -(-linear.n_post // height)

    return nearly_fewest(nearly_fewest(found, arrays), tiles)


def _aspects(linear: Linear, chip: Chip) -> Iterator[tuple[int, int]]:
    """(inputs, neurons) of tiles that fit a core: whole arrays in both directions, as far as
    there is more than one, and parts of one where a core holds no more."""
    core, array = chip.core, array_of(chip)
    block = math.lcm(array.neurons, linear.align)
    for width in _widths(linear.n_pre, math.lcm(array.rows, GROUP)):
        stacks = array.per_core // -(-width // array.rows)
        counts = COUNT_BYTES * core.token_slots * width
        most = min(
            stacks * array.neurons,
            (core.state_memory - counts) // (groups(width) * (2 + 4)),
            core.neurons,
        )
        if width > core.in_axons or most < min(linear.n_post, linear.align):
            continue
        if most >= linear.n_post:
            yield width, linear.n_post
        elif most >= block:
            tiles = -(-linear.n_post // (most // block * block))
            yield width, -(-linear.n_post // (tiles * block)) * block
        else:
            yield width, most // linear.align * linear.align


def _widths(n_pre: int, step: int) -> Iterator[int]:
    """Groups of less than an array, then near-equal cuts of the inputs at whole arrays."""
    wanted = -(-n_pre // step)
    sizes = {-(-wanted // parts) for parts in range(1, wanted + 1)}
    yield from range(GROUP, min(step, n_pre), GROUP)
    yield from (min(size * step, n_pre) for size in sorted(sizes))


def _too_large(linear: Linear, chip: Chip) -> DoesNotFit:
    array, core = array_of(chip), chip.core
    width = min(GROUP, linear.n_pre)
    least = Tile(linear.name, 0, width, 0, min(linear.align, linear.n_post), 1)
    return DoesNotFit(
        f"{width} inputs of one neuron need {n_arrays(least, array)} arrays, "
        f"{state_bytes(least, chip)} bytes of state and {width} in-axons; a core of {chip.name} "
        f"has {array.per_core}, {core.state_memory} and {core.in_axons}",
        where=linear.name,
        fix="--set array.per_core=... or a target with larger cores",
    )


def verify(tiles: tuple[Tile, ...], chip: Chip) -> None:
    """Lay every shape of tile out, weight by weight along both sides: all slices of all weights
    have a place in the arrays of one core, and those arrays are what the core is charged."""
    array = array_of(chip)
    last = array.columns - array.columns % array.columns_per_weight
    for (n_pre, n_post), found in {(t.n_pre, t.n_post): t for t in tiles}.items():
        down = {row // array.rows for row in range(n_pre)}
        across = {neuron * array.columns_per_weight // last for neuron in range(n_post)}
        held = len(down) * len(across)
        if held > array.per_core:
            raise Bug(f"{held} arrays on a core of {array.per_core}", where=found.linear)
        if held * array.weights != synapse_bytes(found, chip):
            raise Bug("another memory than its arrays'", where=found.linear)


def array_bounds(flow: Dataflow, chip: Chip) -> dict[str, dict[str, float]]:
    """Arrays in use, against those that the cells of all weights would fill to the last one."""
    array = array_of(chip)
    tiles = [task.tile for task in flow.tasks if task.tile is not None]
    used = sum(n_arrays(t, array) for t in tiles)
    cells = sum(t.n_pre * t.n_post for t in tiles) * array.columns_per_weight
    least = -(-cells // (array.rows * array.columns))
    return {"arrays by cells": {"achieved": used, "bound": least, "ratio": used / least}}

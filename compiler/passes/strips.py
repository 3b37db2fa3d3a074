"""Cut a linear whose synapses are a list, or wider than 8 bits, into tiles.

A tile takes as many consecutive neurons as a core has room for, with all of their inputs if its
axons allow: no sum travels then. Otherwise the inputs are cut as well, into as few strips as do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.graph import GROUP, Graph, Linear, Population, reads
from compiler.passes.aspect import group_bytes
from compiler.tasks import Tile
from hw_models.chip import Chip
from hw_models.errors import Bug, DoesNotFit
from kernels.neurons import NEURONS

I32 = NDArray[np.int32]


def synapse_bytes(tile: Tile, linear: Linear, chip: Chip) -> int:
    """Weights, and in a list the number of the neuron beside each."""
    bits = linear.bits + (0 if linear.listed is None else chip.core.index_bits)
    return -(-tile.synapses * bits // 8)


def neuron_bytes(graph: Graph, linear: Linear, chip: Chip) -> int:
    """State of a neuron that lives where its synapses are (compiler.passes.population)."""
    stage = next(stage for stage in graph.stages if linear.name in reads(stage))
    if chip.abilities.vector or not isinstance(stage, Population):
        return 0
    kind = NEURONS[stage.neuron]
    return 8 * chip.core.token_slots + 8 + 4 * (len(kind.parameters) + len(kind.state))


def cut(linear: Linear, synapses: csr_array, chip: Chip, beside: int) -> list[Tile]:
    """beside: bytes of state that a core needs for every neuron besides its sums.

    Raises DoesNotFit where a core has no room for one neuron with one group of inputs.
    """
    most = -(-linear.n_pre // GROUP)
    for n_strips in range(1, most + 1):
        width = -(-most // n_strips) * GROUP
        edges = [*range(0, linear.n_pre, width), linear.n_pre]
        found = _cut(linear, synapses, chip, beside, edges)
        if found is not None:
            return found
    raise DoesNotFit(
        f"one neuron with {GROUP} of its inputs",
        where=linear.name,
        fix="--set core.synapse_memory=... or core.in_axons=..., or a target with larger cores",
    )


@dataclass(slots=True)
class _Strip:
    """A tile of some inputs that is being filled; `seen`: when an input was met, by tile."""

    pre: int
    n_pre: int
    seen: I32
    stored: int = 0
    driven: int = 0


def _cut(
    linear: Linear, synapses: csr_array, chip: Chip, beside: int, edges: Sequence[int]
) -> list[Tile] | None:
    """Tiles of these strips; None where a neuron alone does not fit."""
    strips = [_Strip(a, b - a, np.full(b - a, -1, np.int32)) for a, b in pairwise(edges)]
    tiles: list[Tile] = []
    first, indptr = 0, synapses.indptr
    groups = max(-(-strip.n_pre // linear.group) for strip in strips)
    most = _most_neurons(linear, chip, beside, groups)
    for j in range(linear.n_post):
        row = synapses.indices[indptr[j] : indptr[j + 1]]
        more = [_met(linear, strip, row, first) for strip in strips]
        if j > first and (j - first == most or not _fit(linear, chip, strips, more)):
            tiles += _filled(linear, strips, first, j)
            first = j
            more = [_met(linear, strip, row, first) for strip in strips]
        if not most or not _fit(linear, chip, strips, more):
            return None
        for strip, (stored, new) in zip(strips, more, strict=True):
            strip.stored += stored
            strip.driven += new.size
            strip.seen[new] = first
    return tiles + list(_filled(linear, strips, first, linear.n_post))


def _most_neurons(linear: Linear, chip: Chip, beside: int, groups: int) -> int:
    core = chip.core
    each = group_bytes(groups, 1, core.token_slots) + beside
    most = min(core.neurons, core.state_memory // each)
    return most if linear.listed is None else min(most, 1 << core.index_bits)


def _met(linear: Linear, strip: _Strip, row: I32, first: int) -> tuple[int, I32]:
    """What a neuron adds to a tile: synapses, and inputs that have none there yet."""
    if linear.listed is None:
        new = np.flatnonzero(strip.seen != first).astype(np.int32)
        return strip.n_pre, new
    lo, hi = np.searchsorted(row, (strip.pre, strip.pre + strip.n_pre))
    own = row[lo:hi] - strip.pre
    return own.size, own[strip.seen[own] != first]


def _fit(
    linear: Linear, chip: Chip, strips: Iterable[_Strip], more: Iterable[tuple[int, I32]]
) -> bool:
    for strip, (stored, new) in zip(strips, more, strict=True):
        tile = Tile(linear.name, 0, 1, 0, 1, 1, stored=strip.stored + stored)
        if synapse_bytes(tile, linear, chip) > chip.core.synapse_memory:
            return False
        if strip.driven + new.size > chip.core.in_axons:
            return False
    return True


def _filled(linear: Linear, strips: Iterable[_Strip], first: int, end: int) -> Iterator[Tile]:
    """Tiles of neurons first to end, and empty strips again.

    A tile that nothing reaches has its first input all the same: it must hear when a step is over.
    """
    for strip in strips:
        counted = linear.listed is not None
        yield Tile(
            linear.name,
            strip.pre,
            strip.n_pre,
            first,
            end - first,
            -(-strip.n_pre // linear.group),
            stored=strip.stored if counted else None,
            driven=max(1, strip.driven) if counted else None,
        )
        strip.stored = strip.driven = 0


def reached(synapses: csr_array, tile: Tile) -> NDArray[np.int64]:
    """Inputs that drive a tile of a list, ascending."""
    own = synapses.indices[synapses.indptr[tile.post] : synapses.indptr[tile.post + tile.n_post]]
    met = np.zeros(tile.n_pre, bool)
    met[own[(own >= tile.pre) & (own < tile.pre + tile.n_pre)] - tile.pre] = True
    if not met.any():
        met[0] = True
    return tile.pre + np.flatnonzero(met)


def verify(linear: Linear, synapses: csr_array, tiles: Iterable[Tile]) -> None:
    """Every tile holds the synapses that lie in it, and has the axons they need; Bug if not."""
    total = 0
    for tile in tiles:
        rows = slice(tile.post, tile.post + tile.n_post)
        block = synapses[rows, tile.pre : tile.pre + tile.n_pre]
        axons = max(1, np.unique(block.indices).size)
        if (block.nnz, axons) != (tile.stored, tile.driven):
            raise Bug(
                f"tile at ({tile.pre}, {tile.post}) holds {block.nnz} synapses", where=linear.name
            )
        total += block.nnz
    if total != linear.listed:
        raise Bug(f"{total} synapses of {linear.listed} in tiles", where=linear.name)

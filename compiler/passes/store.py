"""How a network of spiking neurons stores its synapses: every pair, or a list; in how many bits.

A list costs a neuron's number beside each weight. It is taken where that is smaller, on targets
that can hold one. Whole numbers stay what they are where the target has weights wide enough;
everything else becomes W8.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy.sparse import csr_array

from compiler.graph import Graph, Linear
from compiler.lists import Lists, Matrix, Synapses
from hw_models.chip import Chip
from hw_models.errors import Bug, Unsupported

WIDEST: Final = 16
"""Bits of a weight."""

MOST_WEIGHTS: Final = 1 << 26
"""Stored synapses of one linear."""


def store(graph: Graph, synapses: Synapses, chip: Chip) -> tuple[Graph, Lists]:
    """The graph with the form of every linear's synapses, and those of linears that are not plain.

    Unsupported for more than MOST_WEIGHTS of one linear.
    """
    linears, lists = [], {}
    for found in graph.linears:
        linear = found
        if found.name in synapses:
            weight = synapses[found.name]()
            linear = _formed(found, weight, chip)
            if not linear.plain:
                lists[linear.name] = _listed(weight)
            elif linear.synapses > MOST_WEIGHTS:
                raise Unsupported(
                    f"{linear.n_post} x {linear.n_pre} synapses; {MOST_WEIGHTS} at most",
                    where=linear.name,
                    fix="a smaller layer, or a target whose cores hold lists of synapses",
                )
        linears.append(linear)
    return replace(graph, linears=tuple(linears)), lists


def _formed(linear: Linear, weight: Matrix, chip: Chip) -> Linear:
    if chip.array is not None:
        return linear
    values = weight if isinstance(weight, np.ndarray) else weight.data
    bits = _width(values, chip)
    stored = int(np.count_nonzero(values)) if values.ndim == 2 else values.size
    wide, index = bits or 8, chip.core.index_bits
    shorter = stored * (wide + index) < linear.n_pre * linear.n_post * wide
    listed = stored if index and stored and shorter else None
    if listed is None and wide == 8:
        return linear
    return replace(linear, integers=bits is not None, bits=wide, listed=listed)


def _width(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], chip: Chip) -> int | None:
    """Bits that hold whole numbers, if the target has so many; 8 at least."""
    largest = max(-float(values.min(initial=0)), float(values.max(initial=0)))
    if not largest < 1 << WIDEST - 1 or (values != np.rint(values)).any():
        return None
    needed = max(8, 1 + int(largest).bit_length())
    return min((b for b in chip.abilities.weight_bits if needed <= b <= WIDEST), default=None)


def _listed(weight: Matrix) -> csr_array:
    found = csr_array(weight)
    found.sort_indices()
    return found


def verify(graph: Graph, lists: Lists, chip: Chip) -> None:
    """What is not plain is there, as many as it says, and fits the target's weights."""
    for linear in graph.linears:
        if linear.plain:
            continue
        found = lists.get(linear.name)
        if found is None or found.shape != (linear.n_post, linear.n_pre):
            raise Bug("no list of its synapses", where=linear.name)
        if linear.listed is not None and (found.nnz != linear.listed or not chip.core.index_bits):
            raise Bug(f"{found.nnz} synapses of {linear.listed}", where=linear.name)
        if linear.bits not in chip.abilities.weight_bits:
            raise Bug(f"weights of {linear.bits} bits", where=linear.name)
        if linear.integers and np.abs(found.data).max(initial=0) >= 1 << linear.bits - 1:
            raise Bug(f"a weight beyond {linear.bits} bits", where=linear.name)

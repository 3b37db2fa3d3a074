"""A second opinion on the cut into chips: Mt-KaHyPar, started from the analytic one.

Its deterministic preset minimises the bits of cut nets times the chips they touch beyond the first
(KM1). Its limits are soft, so what it returns is repaired. It needs memory for nets x chips, so
that it is given the chips of a large system one stretch of the pipeline after another.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.passes.nets import Nets
from compiler.passes.partition import Partition

I64 = NDArray[np.int64]

FROM_SCRATCH = 20_000
"""Up to so many pins it also cuts from scratch, which takes several times as long."""
STRETCH = 512
"""Chips that are cut at once."""
S_PER_PIN = 30e-6
"""What it takes at most on a slow machine; it cannot be interrupted."""
SEED = 1


def second_cut(parts: Partition, nets: Nets, seconds: float) -> Partition | None:
    """Another cut into the same chips.

    None where there is nothing to cut, too little time, no mtkahypar, or nothing that fits.
    """
    if parts.n_groups < 2 or nets.n_nets == 0 or find_spec("mtkahypar") is None:
        return None
    if nets.pin.size * S_PER_PIN > seconds:
        return None
    rooms = [parts.board.room[slot] for slot in parts.slot_of]
    found = np.array(parts.group_of, np.int64)
    borders = np.linspace(0, len(rooms), -(-len(rooms) // STRETCH) + 1).astype(int).tolist()
    for lo, hi in pairwise(borders):
        own = np.flatnonzero((found >= lo) & (found < hi))
        found[own] = lo + _cut(found[own] - lo, _inside(nets, own), rooms[lo:hi])
    found = repair(found, nets, rooms)
    used, numbers = np.unique(found, return_inverse=True)  # a group may have become empty
    slots = tuple(parts.slot_of[g] for g in used.tolist())
    return replace(parts, group_of=tuple(numbers.tolist()), slot_of=slots)


def _inside(nets: Nets, things: I64) -> tuple[list[list[int]], list[int]]:
    """Pins and weights of the nets between some things, by their place among these.

    What else a net reaches is cut off whatever happens here; the host no cut moves.
    """
    place = np.full(nets.n_things + 1, -1, np.int64)
    place[things] = np.arange(things.size)
    pin, net = place[nets.pin], nets.net_of_pin
    here = pin >= 0
    here &= np.bincount(net[here], minlength=nets.n_nets)[net] > 1
    real, first = np.unique(net[here], return_index=True)
    pins = [own.tolist() for own in np.split(pin[here], first[1:])]
    return pins, np.maximum(1, np.rint(nets.far[real])).astype(np.int64).tolist()


@cache
def _library() -> Any:
    import mtkahypar

    return mtkahypar.initialize(1)


def _cut(group_of: I64, nets: tuple[list[list[int]], list[int]], rooms: list[int]) -> I64:
    """Group of every core."""
    import mtkahypar

    pins, weights = nets
    n = group_of.size
    if not pins or len(rooms) < 2:
        return group_of
    library = _library()
    mtkahypar.set_seed(SEED)
    context = library.context_from_preset(mtkahypar.PresetType.DETERMINISTIC)
    context.set_partitioning_parameters(len(rooms), 0.03, mtkahypar.Objective.KM1)
    context.set_individual_target_block_weights(rooms)
    context.logging = False
    graph = library.create_hypergraph(context, n, len(pins), pins, [1] * n, weights)
    found = graph.create_partitioned_hypergraph(context, len(rooms), group_of.tolist())
    found.improve_partition(context, 1)
    if sum(map(len, pins)) <= FROM_SCRATCH:
        other = graph.partition(context)
        if other.km1() < found.km1():
            found = other
    return np.array([found.block_id(i) for i in range(n)], np.int64)


def repair(group_of: I64, nets: Nets, rooms: list[int]) -> I64:
    """Move cores out of groups that are too large, each to where it costs the fewest bits.

    The rooms together have room for all cores.
    """
    found = group_of.copy()
    sizes = Counter(found.tolist())
    nets_first, own_nets = nets.by_thing()
    for group in [g for g in sizes if sizes[g] > rooms[g]]:
        while sizes[group] > rooms[group]:
            free = [g for g in range(len(rooms)) if sizes[g] < rooms[g]]
            moves = (
                (_cost(core, target, found, nets, nets_first, own_nets), core, target)
                for core in np.flatnonzero(found == group).tolist()
                for target in free
            )
            _, core, target = min(moves)
            found[core] = target
            sizes[group] -= 1
            sizes[target] += 1
    return found


def _cost(
    core: int, target: int, group_of: I64, nets: Nets, nets_first: I64, own_nets: I64
) -> float:
    """Bits that moving a core adds: nets that reach a group more, less those that leave one."""
    cost = 0.0
    for net in own_nets[nets_first[core] : nets_first[core + 1]].tolist():
        pins = nets.pin[nets.first[net] : nets.first[net + 1]]
        others = group_of[pins[(pins < nets.n_things) & (pins != core)]]
        cost += nets.far[net] * (float(target not in others) - float(group_of[core] not in others))
    return cost

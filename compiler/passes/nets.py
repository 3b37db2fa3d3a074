"""Nets between cores, as arrays: what partitioning and placement look at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.passes.pack import Packing
from compiler.passes.traffic import Messages
from compiler.tasks import Dataflow

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Nets:
    """Things (cores, or groups of them) that talk; thing number `n_things` is the host.

    pin[first[i]] is the source of net i, pin[first[i] + 1 : first[i + 1]] are its sinks, all
    different from each other and from the source. far[i] and near[i] are the bits per token that
    it puts on each chip link, and on each link of the mesh.
    """

    n_things: int
    first: I64
    pin: I64
    far: F64
    near: F64

    @property
    def n_nets(self) -> int:
        return self.first.size - 1

    @property
    def net_of_pin(self) -> I64:
        return np.repeat(np.arange(self.n_nets), np.diff(self.first))

    @property
    def source(self) -> I64:
        return self.pin[self.first[:-1]]

    def by_thing(self) -> tuple[I64, I64]:
        """(first, nets): the nets of every thing but the host, in ascending order."""
        order = np.argsort(self.pin, kind="stable")
        thing = self.pin[order]
        sizes = np.bincount(thing, minlength=self.n_things + 1)[: self.n_things]
        kept = order[thing < self.n_things]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]), self.net_of_pin[kept]


def nets_of(flow: Dataflow, packing: Packing, weigh: Messages) -> Nets:
    """Nets between logical cores; what stays on one core is none."""
    core = np.full(len(flow.tasks), packing.n_cores, np.int64)
    for unit, logical in zip(flow.units, packing.core_of, strict=True):
        if logical >= 0:
            core[list(unit.tasks)] = logical
    sizes = np.fromiter((len(net.sinks) for net in flow.nets), np.int64, len(flow.nets))
    sink = np.fromiter((s for net in flow.nets for s in net.sinks), np.int64, int(sizes.sum()))
    source = np.fromiter((net.source for net in flow.nets), np.int64, len(flow.nets))
    bits = [
        np.array([weigh.link_bits(net, flow.tasks[net.source], kind) for net in flow.nets])
        for kind in ("chip_x", "x")
    ]
    net = np.repeat(np.arange(sizes.size), sizes)
    return _nets(packing.n_cores, core[source], net, core[sink], bits[0], bits[1])


def contracted(nets: Nets, group_of: I64, n_groups: int) -> Nets:
    """Nets between groups of things; equal ones are added up."""
    group = np.append(group_of, n_groups)
    inner = np.ones(nets.pin.size, bool)
    inner[nets.first[:-1]] = False
    rough = _nets(
        n_groups, group[nets.source], nets.net_of_pin[inner], group[nets.pin[inner]],
        nets.far, nets.near,
    )  # fmt: skip
    same: dict[bytes, int] = {}
    kept: list[I64] = []
    far: list[float] = []
    near: list[float] = []
    for i in range(rough.n_nets):
        pins = rough.pin[rough.first[i] : rough.first[i + 1]]
        at = same.setdefault(pins.tobytes(), len(kept))
        if at == len(kept):
            kept.append(pins)
            far.append(0.0)
            near.append(0.0)
        far[at] += rough.far[i]
        near[at] += rough.near[i]
    sizes = np.array([pins.size for pins in kept], np.int64)
    return Nets(
        n_groups,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        np.concatenate([np.zeros(0, np.int64), *kept]),
        np.array(far, np.float64),
        np.array(near, np.float64),
    )


def within(nets: Nets, group_of: I64, n_groups: int) -> list[Nets]:
    """For every group of things the nets that it sees, things numbered within the group.

    All that is outside is one thing, the group's gateway.
    """
    own = np.empty(nets.n_things, np.int64)  # a thing's number within its group
    sizes = np.bincount(group_of, minlength=n_groups)
    order = np.argsort(group_of, kind="stable")
    own[order] = np.arange(order.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    group, net = np.append(group_of, n_groups)[nets.pin], nets.net_of_pin
    source_group = group[nets.first[:-1]]
    inside = group < n_groups  # the host has no group
    # a group sees a net once, as number `seen` in the order (group, net)
    key, seen = np.unique((group * nets.n_nets + net)[inside], return_inverse=True)
    seen_group, seen_net = np.divmod(key, nets.n_nets)
    leaves_home = np.bincount(net, group != source_group[net], nets.n_nets) > 0
    enters = source_group[seen_net] != seen_group
    goes_on = ~enters & leaves_home[seen_net]
    is_sink = np.ones(nets.pin.size, np.int64)
    is_sink[nets.first[:-1]] = 0
    rows = [
        (seen, is_sink[inside], own[nets.pin[inside]]),
        (np.flatnonzero(enters), np.zeros(int(enters.sum())), sizes[seen_group[enters]]),
        (np.flatnonzero(goes_on), np.ones(int(goes_on.sum())), sizes[seen_group[goes_on]]),
    ]
    at, sinks, thing = (
        np.concatenate(column).astype(np.int64) for column in zip(*rows, strict=True)
    )
    order = np.lexsort((thing, sinks, at))  # the source of every net comes first
    ends = np.cumsum(np.bincount(at, minlength=key.size))
    last_net = np.searchsorted(seen_group, np.arange(n_groups), side="right")
    found = []
    begin = pins = 0
    for g, end in enumerate(last_net.tolist()):
        mine = seen_net[begin:end]
        first = np.append(pins, ends[begin:end])
        pin = thing[order[pins : first[-1]]]
        found.append(Nets(int(sizes[g]), first - pins, pin, nets.far[mine], nets.near[mine]))
        begin, pins = end, int(first[-1])
    return found


def _nets(n_things: int, source: I64, net: I64, sink: I64, far: F64, near: F64) -> Nets:
    """Every net's different sinks in ascending order, without its source; empty nets left out."""
    width = n_things + 1
    key = np.unique(net * width + sink)
    net, sink = np.divmod(key, width)
    away = sink != source[net]
    net, sink = net[away], sink[away]
    used, sizes = np.unique(net, return_counts=True)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes + 1)])
    pin = np.empty(int(first[-1]), np.int64)
    is_source = np.zeros(pin.size, bool)
    is_source[first[:-1]] = True
    pin[first[:-1]], pin[~is_source] = source[used], sink
    return Nets(n_things, first, pin, far[used], near[used])

"""Nets as arrays say what the dataflow's nets say."""

from itertools import pairwise

import numpy as np

from compiler.passes.nets import Nets, contracted, within


def as_sets(nets):
    """{(source, sinks): bits}, equal nets added up."""
    found = {}
    for i in range(nets.n_nets):
        source, *sinks = nets.pin[nets.first[i] : nets.first[i + 1]].tolist()
        assert sinks == sorted(set(sinks))
        assert source not in sinks
        key = (source, tuple(sinks))
        found[key] = found.get(key, 0.0) + float(nets.far[i])
    return found


def test_cores_that_talk(small):
    core = {}
    for unit, logical in zip(small.flow.units, small.packed.core_of, strict=True):
        core |= dict.fromkeys(unit.tasks, small.packed.n_cores if logical < 0 else logical)
    wanted = {}
    for net in small.flow.nets:
        source = core[net.source]
        sinks = tuple(sorted({core[s] for s in net.sinks} - {source}))
        if sinks:
            bits = small.weigh.link_bits(net, small.flow.tasks[net.source], "chip_x")
            wanted[source, sinks] = wanted.get((source, sinks), 0.0) + bits
    assert as_sets(small.nets) == wanted
    first, nets = small.nets.by_thing()
    ends = small.nets.first
    pins = [set(small.nets.pin[lo:hi].tolist()) for lo, hi in pairwise(ends.tolist())]
    for thing in range(0, small.packed.n_cores, 7):
        mine = [i for i, own in enumerate(pins) if thing in own]
        assert nets[first[thing] : first[thing + 1]].tolist() == mine


def random_nets(rng, n):
    pins = [rng.permutation(n + 1)[: rng.integers(2, 6)] for _ in range(30)]
    pins = [np.concatenate([p[:1], np.sort(p[1:])]) for p in pins]
    bits = rng.integers(1, 99, 30).astype(float)
    return Nets(n, np.concatenate([[0], np.cumsum([p.size for p in pins])]),
                np.concatenate(pins), bits, bits)  # fmt: skip


def test_contracting_keeps_what_crosses():
    rng = np.random.default_rng(0)
    for _ in range(20):
        nets = random_nets(rng, 12)
        groups = rng.integers(0, 4, 12)
        number = np.append(groups, 4)
        wanted = {}
        for (source, sinks), bits in as_sets(nets).items():
            away = tuple(sorted({int(number[s]) for s in sinks} - {int(number[source])}))
            if away:
                key = (int(number[source]), away)
                wanted[key] = wanted.get(key, 0.0) + bits
        assert as_sets(contracted(nets, groups, 4)) == wanted


def seen_from(group, groups, source, sinks):
    """(source, sinks) of a net as a group sees it, numbered within; None if it has no pin there."""
    members = np.flatnonzero(groups == group).tolist()

    def inside(pin):
        return members.index(pin) if pin in members else len(members)

    if not {source, *sinks} & set(members):
        return None
    return inside(source), tuple(sorted({inside(s) for s in sinks} - {inside(source)}))


def test_a_group_sees_the_world_as_its_gateway():
    rng = np.random.default_rng(1)
    for _ in range(20):
        nets = random_nets(rng, 12)
        groups = rng.integers(0, 4, 12)
        for group, local in enumerate(within(nets, groups, 4)):
            assert local.n_things == (groups == group).sum()
            wanted = {}
            for (source, sinks), bits in as_sets(nets).items():
                key = seen_from(group, groups, source, sinks)
                if key is not None:
                    wanted[key] = wanted.get(key, 0.0) + bits
            assert as_sets(local) == wanted

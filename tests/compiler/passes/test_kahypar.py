"""The second cut respects every limit, is the same every time, and finds what is easy to find."""

import numpy as np
import pytest

from compiler.passes.kahypar import repair, second_cut
from compiler.passes.nets import Nets, contracted
from compiler.passes.pack import Packing
from compiler.passes.partition import partition, verify
from hw_models.chip import load_chip

CHIP = load_chip("toy", {"layout.usable_cores": "8"})


def nets_between(n, pairs, bits):
    """Each net from one core to another."""
    return Nets(n, np.arange(0, 2 * len(pairs) + 1, 2), np.array(pairs).ravel(),
                np.array(bits, float), np.array(bits, float))  # fmt: skip


def scrambled(n=32):
    """Four cliques of eight cores, dealt out like cards."""
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b and a % 4 == b % 4]
    packing = Packing(tuple(range(n)), (0,) * n)
    return packing, nets_between(n, pairs, [100.0] * len(pairs))


def test_cliques_that_the_pipeline_hides_are_found():
    packing, nets = scrambled()
    parts = partition(packing, CHIP)
    found = second_cut(parts, nets, np.inf)
    verify(found, packing, CHIP)
    for clique in range(4):
        assert len({found.group_of[core] for core in range(clique, 32, 4)}) == 1
    assert contracted(nets, np.array(found.group_of), found.n_groups).n_nets == 0
    assert second_cut(parts, nets, np.inf) == found


def test_too_little_time_or_nothing_to_cut():
    packing, nets = scrambled()
    parts = partition(packing, CHIP)
    assert second_cut(parts, nets, 1e-6) is None
    one = partition(Packing((0,), (0,)), CHIP)
    assert second_cut(one, nets_between(1, [(0, 1)], [1.0]), np.inf) is None


@pytest.mark.parametrize("seed", range(5))
def test_repair_moves_as_few_and_as_cheap_cores_as_it_can(seed):
    rng = np.random.default_rng(seed)
    # core 0 has no net at all: it is the one to leave an overfull group
    pairs = [(a, b) for a in range(1, 9) for b in range(1, 9) if a != b]
    nets = nets_between(12, pairs, rng.uniform(1, 2, len(pairs)))
    group_of = np.array([0] * 9 + [1] * 3)
    fixed = repair(group_of, nets, [8, 8])
    assert np.flatnonzero(fixed != group_of).tolist() == [0]
    unchanged = repair(group_of, nets, [9, 3])
    assert (unchanged == group_of).all()

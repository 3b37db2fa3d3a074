"""Chips that talk lie side by side; bits on chip links are what the trees of nets carry."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from compiler.budget import Budget
from compiler.passes.board import _hilbert, board_links, on_board, verify
from compiler.passes.nets import Nets, contracted
from compiler.passes.pack import Packing
from compiler.passes.partition import Partition, board_for, partition
from compiler.passes.route import tree_of_node
from hw_models.chip import load_chip
from hw_models.errors import Bug
from hw_models.events import LINKS
from tests.compiler.passes.steps import with_dead
from tests.tiny import TINY_CORE

CHIP = load_chip("toy", {"layout.usable_cores": "1"})  # a chip is a core


def ring(n, far=1000.0):
    """Every core to the next one, the last to the first."""
    pin = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1).ravel()
    bits = np.full(n, far)
    return Nets(n, np.arange(0, 2 * n + 1, 2), pin, bits, bits)


def one_each(n):
    packing = Packing(tuple(range(n)), tuple(range(n)))
    return packing, partition(packing, CHIP)


def test_a_ring_is_laid_out_without_a_gap():
    """16 chips on 4 x 4 slots: no ring is shorter than 16 links."""
    _, parts = one_each(16)
    found = on_board(parts, ring(16), Budget())
    verify(found, ring(16))
    assert found.link_bits == 16 * 1000.0


def test_what_the_host_gets_lies_near_the_host():
    """A chip that sends the host far more than all else ends up beside it."""
    _, parts = one_each(9)
    nets = ring(9)
    host = np.array([4, 9])
    nets = Nets(9, np.append(nets.first, nets.first[-1] + 2), np.append(nets.pin, host),
                np.append(nets.far, 1e6), np.append(nets.near, 1e6))  # fmt: skip
    found = on_board(parts, nets, Budget())
    assert found.parts.slot_of[4] == 0


def test_board_bits_are_those_of_the_routed_trees(small):
    """Counted link by link in the trees that the router grew."""
    links = small.placed.mesh.links.kind[small.trees.link]
    between = np.isin(links, [LINKS.index("chip_x"), LINKS.index("chip_y")])
    per_tree = np.bincount(tree_of_node(small.trees)[between], minlength=len(small.flow.nets))
    bits = [
        small.weigh.link_bits(net, small.flow.tasks[net.source], "chip_x")
        for net in small.flow.nets
    ]
    assert small.boarded.link_bits == pytest.approx(float(per_tree @ np.array(bits)))


def test_a_cut_that_the_pipeline_hides_is_taken_from_the_second_opinion():
    chip = load_chip("toy", {"layout.usable_cores": "8"})
    n = 32
    pairs = [(a, b) for a in range(n) for b in range(n) if a != b and a % 4 == b % 4]
    bits = np.full(len(pairs), 10.0)
    nets = Nets(n, np.arange(0, 2 * len(pairs) + 1, 2), np.array(pairs).ravel(), bits, bits)
    parts = partition(Packing(tuple(range(n)), (0,) * n), chip)
    found = on_board(parts, nets, Budget())
    assert (found.cut, found.link_bits) == ("Mt-KaHyPar", 0.0)
    hurried = on_board(parts, nets, Budget(1e-9))
    assert hurried.cut == "analytic"
    assert hurried.link_bits > 0


def test_dead_chips_are_left_out():
    dead = frozenset(range(16)) | frozenset(range(64, 68))
    packing = Packing(tuple(range(9)), tuple(range(9)))
    parts = partition(packing, with_dead(CHIP, dead))
    found = on_board(parts, ring(9), Budget())
    verify(found, ring(9))
    assert all(found.parts.board.room[slot] for slot in found.parts.slot_of)


def test_the_same_every_time(small):
    assert on_board(partition(small.packed, small.chip), small.nets, Budget()) == small.boarded


def test_the_verifier_recounts(small):
    verify(small.boarded, small.nets)
    with pytest.raises(Bug, match="recounted"):
        verify(replace(small.boarded, link_bits=small.boarded.link_bits + 1), small.nets)
    slots = small.parts.slot_of
    swapped = replace(small.parts, slot_of=(slots[-1], *slots[1:-1], slots[0]))
    groups = contracted(small.nets, np.array(small.parts.group_of), small.parts.n_groups)
    assert board_links(swapped, groups) != small.boarded.link_bits
    with pytest.raises(Bug, match="recounted"):
        verify(replace(small.boarded, parts=swapped), small.nets)
    with pytest.raises(Bug, match="two groups on one chip"):
        doubled = replace(small.parts, slot_of=(slots[1], *slots[1:]))
        verify(replace(small.boarded, parts=doubled), small.nets)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4, 4), (5, 3), (1, 7)])
def test_a_hilbert_curve_visits_every_slot_once(width, height):
    chip = load_chip("toy", {"layout.chips": f"[{width}, {height}]", "layout.usable_cores": "1"})
    board = board_for(width * height, chip)
    way = _hilbert(board)
    assert sorted(way) == list(range(width * height))
    if width == height:  # and goes to a neighbour every time
        places = [divmod(slot, width) for slot in way]
        assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in pairwise(places))


def test_groups_keep_to_chips_that_have_room_for_them():
    """Three dead cores on the second chip: only the group cut for it may lie there."""
    chip = load_chip("toy", TINY_CORE)
    dead = frozenset({4, 5, 6})
    packing = Packing(tuple(range(61)), (0,) * 61)
    parts = partition(packing, with_dead(chip, dead))
    assert sorted(parts.sizes) == [13, 16, 16, 16]
    found = on_board(parts, ring(61), Budget())
    assert isinstance(found.parts, Partition)
    assert found.parts.board.room[found.parts.slot_of[parts.sizes.index(13)]] == 13

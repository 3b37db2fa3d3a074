"""Logical cores get live cores of their own chips, near those they talk to."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.budget import Budget
from compiler.passes.nets import Nets
from compiler.passes.pack import Packing
from compiler.passes.partition import partition
from compiler.passes.place import place, verify
from compiler.passes.tree_bounds import mesh_trees
from hw_models.chip import load_chip
from hw_models.errors import Bug
from tests.compiler.passes.steps import with_dead

CHIP = load_chip(
    "toy", {"layout.chips": "[3, 2]", "layout.cores_per_router": "2", "layout.usable_cores": "30"}
)


def moved(small, logical, core):
    physical = list(small.placed.physical)
    physical[logical] = core
    return replace(small.placed, physical=tuple(physical))


def chain(n_cores):
    """Every core sends to the next but one; the last to the host."""
    pin = np.stack([np.arange(n_cores), np.minimum(np.arange(n_cores) + 2, n_cores)], 1).ravel()
    ones = np.ones(n_cores)
    return Nets(n_cores, np.arange(0, 2 * n_cores + 1, 2), pin, ones, ones)


@settings(max_examples=40, deadline=None)
@given(n_cores=st.integers(1, 120), dead=st.sets(st.integers(0, 191), max_size=40))
def test_random_boards(n_cores, dead):
    chip = with_dead(CHIP, dead)
    parts = partition(Packing(tuple(range(n_cores)), (0,) * n_cores), chip)
    placed = place(parts, chain(n_cores), chip, Budget())
    verify(placed, parts, chip)
    assert len(set(placed.physical)) == n_cores
    assert not dead & set(placed.physical)
    for core, group in zip(placed.physical, parts.group_of, strict=True):
        y, x = divmod(core // 2, 12)  # 3 chips of 4 routers in a row, 2 cores at each
        assert divmod(parts.slot_of[group], parts.board.width) == (y // 4, x // 4)
    assert placed.n_chips == len(set(parts.group_of))


def test_placing_shortens_the_ways_on_a_chip(small):
    """Compared with the pipeline along a snake, which is where it begins."""
    cores = {
        slot: iter(small.placed.mesh.cores_of(small.parts.board.chip(slot)))
        for slot in small.parts.slot_of
    }
    snake = tuple(next(cores[small.parts.slot_of[g]]) for g in small.parts.group_of)
    begun, _ = mesh_trees(small.nets, replace(small.placed, physical=snake))
    ended, least = mesh_trees(small.nets, small.placed)
    assert least <= ended < 0.9 * begun


def test_the_same_every_time(small):
    again = place(small.parts, small.nets, small.chip, Budget())
    assert again == small.placed


def test_a_budget_of_nothing_places_along_the_snake(small):
    spent = Budget(1e-9)
    placed = place(small.parts, small.nets, small.chip, spent)
    verify(placed, small.parts, small.chip)
    for group, slot in enumerate(small.parts.slot_of):
        mine = [c for c, g in zip(placed.physical, small.parts.group_of, strict=True) if g == group]
        assert mine == list(placed.mesh.cores_of(small.parts.board.chip(slot)))[: len(mine)]


def test_two_logical_cores_on_one(small):
    verify(small.placed, small.parts, small.chip)
    wrong = moved(small, 0, small.placed.physical[1])
    with pytest.raises(Bug, match="two logical cores"):
        verify(wrong, small.parts, small.chip)


def test_a_dead_core(small):
    for core in small.placed.physical[::10]:
        with pytest.raises(Bug, match="a dead core"):
            verify(small.placed, small.parts, with_dead(small.chip, {core}))


def test_a_core_of_another_chip(small):
    unused = next(iter(small.placed.mesh.cores_of(63)))
    with pytest.raises(Bug, match=f"core {unused} is not on the chip"):
        verify(moved(small, 0, unused), small.parts, small.chip)


def test_more_cores_than_a_chip_may_use(small):
    fewer = load_chip("toy", {"layout.usable_cores": "15"})
    with pytest.raises(Bug, match="more cores on a chip"):
        verify(small.placed, small.parts, fewer)

"""Logical cores get live cores of their own chips; the verifier sees all else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import Packing
from compiler.passes.partition import partition
from compiler.passes.place import place, verify
from hw_models.chip import load_chip
from hw_models.errors import Bug

CHIP = load_chip(
    "toy", {"layout.chips": "[3, 2]", "layout.cores_per_router": "2", "layout.usable_cores": "30"}
)


def moved(small, logical, core):
    physical = list(small.placed.physical)
    physical[logical] = core
    return replace(small.placed, physical=tuple(physical))


@settings(max_examples=40, deadline=None)
@given(n_cores=st.integers(1, 120), dead=st.sets(st.integers(0, 191), max_size=40))
def test_random_boards(n_cores, dead):
    parts = partition(Packing(tuple(range(n_cores)), n_cores), CHIP, dead)
    placed = place(parts, CHIP, dead)
    verify(placed, parts, CHIP, dead)
    assert len(set(placed.physical)) == n_cores
    assert not dead & set(placed.physical)
    for core, number in zip(placed.physical, parts.chip_of, strict=True):
        y, x = divmod(core // 2, 12)  # 3 chips of 4 routers in a row, 2 cores at each
        assert number == y // 4 * 3 + x // 4
    assert placed.n_chips == len(set(parts.chip_of))


def test_consecutive_cores_of_a_chip_share_a_router_or_a_link(small):
    width = small.placed.grid.width
    pairs = zip(small.placed.physical, small.placed.physical[1:], strict=False)
    chips = zip(small.parts.chip_of, small.parts.chip_of[1:], strict=False)
    for (a, b), (chip, following) in zip(pairs, chips, strict=True):
        if chip == following:
            assert abs(a % width - b % width) + abs(a // width - b // width) <= 1


def test_two_logical_cores_on_one(small):
    verify(small.placed, small.parts, small.chip, frozenset())
    wrong = moved(small, 0, small.placed.physical[1])
    with pytest.raises(Bug, match="two logical cores"):
        verify(wrong, small.parts, small.chip, frozenset())


def test_a_dead_core(small):
    for core in small.placed.physical[::10]:
        with pytest.raises(Bug, match="a dead core"):
            verify(small.placed, small.parts, small.chip, frozenset({core}))


def test_a_core_of_another_chip(small):
    unused = next(c for c in range(1024) if small.placed.grid.chip_of(c) == 63)
    with pytest.raises(Bug, match=f"core {unused} is not on chip"):
        verify(moved(small, 0, unused), small.parts, small.chip, frozenset())


def test_more_cores_than_a_chip_may_use(small):
    fewer = load_chip("toy", {"layout.usable_cores": "15"})
    with pytest.raises(Bug, match="more cores on a chip"):
        verify(small.placed, small.parts, fewer, frozenset())

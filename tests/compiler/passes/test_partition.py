"""Consecutive cores share a chip; no chip is asked for more cores than live there."""

from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import Packing
from compiler.passes.partition import partition, verify
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit

CHIP = load_chip("toy", {"layout.chips": "[3, 2]", "layout.usable_cores": "14"})
MOST = 3 * 2 * 14


def packing(n_cores):
    return Packing(tuple(range(n_cores)), n_cores)


@settings(max_examples=60, deadline=None)
@given(n_cores=st.integers(1, MOST), dead=st.sets(st.integers(0, 95), max_size=40))
def test_chips_are_filled_one_after_another(n_cores, dead):
    try:
        found = partition(packing(n_cores), CHIP, dead)
    except DoesNotFit:
        assert n_cores > MOST - len(dead)
        return
    verify(found, packing(n_cores), CHIP, dead)
    runs = [(chip, len(list(run))) for chip, run in groupby(found.chip_of)]
    assert len({chip for chip, _ in runs}) == len(runs)  # no chip is left and entered again
    assert all(n <= 14 for _, n in runs)


def test_neighbours_in_the_pipeline_are_neighbours_on_the_board(small):
    chips = [chip for chip, _ in groupby(small.parts.chip_of)]
    assert len(chips) > 3
    places = [divmod(chip, small.chip.layout.chips[0]) for chip in chips]
    for (y, x), (v, u) in pairwise(places):
        assert abs(y - v) + abs(x - u) == 1


def test_too_few_chips_or_cores(small):
    for overrides in (
        {"layout.chips": "[2, 2]"},
        {"layout.chips": "[8, 1]", "layout.usable_cores": "9"},
    ):
        with pytest.raises(DoesNotFit, match=r"cores needed, \d+ usable on \d chips") as caught:
            partition(small.packed, load_chip("toy", overrides))
        assert caught.value.where == "toy"


def test_too_many_dead_cores():
    assert len(partition(packing(MOST), CHIP).chip_of) == MOST
    with pytest.raises(DoesNotFit, match=f"{MOST} cores needed, {MOST - 1} usable"):
        partition(packing(MOST), CHIP, {0})


def test_a_core_without_a_chip(small):
    short = replace(small.parts, chip_of=small.parts.chip_of[:-1])
    with pytest.raises(Bug, match="have a chip"):
        verify(short, small.packed, small.chip, frozenset())


@pytest.mark.parametrize("number", [-1, 64])
def test_a_chip_off_the_board(small, number):
    wrong = replace(small.parts, chip_of=(*small.parts.chip_of[:-1], number))
    with pytest.raises(Bug, match=f"chip {number} is not on the board"):
        verify(wrong, small.packed, small.chip, frozenset())


def test_one_core_too_many_on_a_chip(small):
    first = small.parts.chip_of[0]
    wrong = replace(small.parts, chip_of=(*small.parts.chip_of[:-1], first))
    with pytest.raises(Bug, match=f"more cores on chip {first}"):
        verify(wrong, small.packed, small.chip, frozenset())
    with pytest.raises(Bug, match=f"more cores on chip {first}"):
        verify(small.parts, small.packed, small.chip, {0})

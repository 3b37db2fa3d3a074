"""Consecutive cores share a chip; no chip is asked for more cores than live there."""

from dataclasses import replace
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.passes.pack import Packing
from compiler.passes.partition import board_for, partition, verify
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit
from tests.compiler.passes.steps import with_dead

CHIP = load_chip("toy", {"layout.chips": "[3, 2]", "layout.usable_cores": "14"})
MOST = 3 * 2 * 14


def packing(*blocks):
    """Blocks of so many cores."""
    numbers = [block for block, n in enumerate(blocks) for _ in range(n)]
    return Packing(tuple(range(len(numbers))), tuple(numbers))


@settings(max_examples=60, deadline=None)
@given(n_cores=st.integers(1, MOST), dead=st.sets(st.integers(0, 95), max_size=40))
def test_chips_are_filled_one_after_another(n_cores, dead):
    try:
        found = partition(packing(n_cores), with_dead(CHIP, dead))
    except DoesNotFit:
        assert n_cores > MOST - len(dead)
        return
    verify(found, packing(n_cores), with_dead(CHIP, dead))
    runs = [(group, len(list(run))) for group, run in groupby(found.group_of)]
    assert [group for group, _ in runs] == list(range(found.n_groups))
    for group, n in runs:
        assert n <= found.board.room[found.slot_of[group]] <= 14


def test_blocks_stay_whole_where_that_takes_no_further_chip():
    sizes = (13, 14, 12, 2, 14)
    found = partition(packing(*sizes), CHIP)
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    chips = [found.group_of[lo:hi] for lo, hi in pairwise(ends)]
    assert [set(chip) for chip in chips] == [{0}, {1}, {2}, {2}, {3}]
    # eight each would take seven chips: filled to the brim, four are enough
    assert partition(packing(*[8] * 7), CHIP).n_groups == 4


def test_the_board_is_a_near_square_at_the_hosts_corner():
    large = load_chip("loihi-like")
    for cores, width, height in (
        (1, 1, 1),
        (122, 1, 1),
        (123, 2, 1),
        (600, 3, 2),
        (54_000, 22, 21),
    ):
        board = board_for(cores, large)
        assert (board.width, board.height) == (width, height)
        assert sum(board.room) >= cores
    assert board.chip(board.width) == 36  # the second row of 36 chips


def test_too_few_chips_say_how_many_would_do(small):
    for overrides in (
        {"layout.chips": "[2, 2]"},
        {"layout.chips": "[8, 1]", "layout.usable_cores": "9"},
    ):
        with pytest.raises(DoesNotFit, match=r"cores needed, \d+ usable on \d chips") as caught:
            partition(small.packed, load_chip("toy", overrides))
        assert caught.value.where == "toy"
        chips = caught.value.fix.partition("layout.chips=")[2].partition("]")[0] + "]"
        fitting = load_chip("toy", overrides | {"layout.chips": chips})
        assert partition(small.packed, fitting).n_groups > 0


def test_too_many_dead_cores():
    assert len(partition(packing(MOST), CHIP).group_of) == MOST
    with pytest.raises(DoesNotFit, match=f"{MOST} cores needed, {MOST - 1} usable"):
        partition(packing(MOST), with_dead(CHIP, {0}))


def test_a_core_without_a_chip(small):
    short = replace(small.parts, group_of=small.parts.group_of[:-1])
    with pytest.raises(Bug, match="have a chip"):
        verify(short, small.packed, small.chip)


def test_two_groups_on_one_chip(small):
    slots = (small.parts.slot_of[1], *small.parts.slot_of[1:])
    with pytest.raises(Bug, match="two groups on one chip"):
        verify(replace(small.parts, slot_of=slots), small.packed, small.chip)


def test_one_core_too_many_on_a_chip(small):
    full = small.parts.sizes.index(16)
    other = next(i for i, g in enumerate(small.parts.group_of) if g != full)
    groups = list(small.parts.group_of)
    groups[other] = full
    wrong = replace(small.parts, group_of=tuple(groups))
    with pytest.raises(Bug, match=f"more cores in group {full}"):
        verify(wrong, small.packed, small.chip)


def test_a_room_that_is_not_there(small):
    dead = {next(iter(small.placed.mesh.cores_of(small.parts.board.chip(0))))}
    with pytest.raises(Bug, match="has no 16 live cores"):
        verify(small.parts, small.packed, with_dead(small.chip, dead))

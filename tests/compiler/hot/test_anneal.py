"""The kernel's trees are as long as trees told slowly, and it leaves places consistent."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.hot.anneal import anneal, draw, links_of_nets
from compiler.passes.nets import Nets


def told_slowly(source, sinks):
    """Links of the union of all x-then-y ways."""
    links = set()
    for u, v in sinks:
        x, y = source
        while x != u:
            step = 1 if u > x else -1
            links.add((x, y, step, 0))
            x += step
        while y != v:
            step = 1 if v > y else -1
            links.add((x, y, 0, step))
            y += step
    return len(links)


places = st.tuples(st.integers(0, 6), st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(source=places, sinks=st.lists(places, min_size=1, max_size=9))
def test_a_tree_is_as_long_as_the_union_of_its_ways(source, sinks):
    x, y = np.array([source, *sinks]).T
    pins = np.arange(len(sinks) + 1)
    found = links_of_nets(np.array([0, pins.size]), pins, x, y, 7)
    assert found.tolist() == [told_slowly(source, sinks)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), per=st.integers(1, 3), moves=st.integers(0, 2000))
def test_things_keep_to_places_with_room_and_no_two_share_one(seed, per, moves):
    rng = np.random.default_rng(seed)
    width, height = 5, 4
    n_slots = width * height * per
    n = int(rng.integers(2, n_slots + 1))
    size = rng.integers(1, 4, n)
    slots = rng.permutation(n_slots)[:n]
    room = np.zeros(n_slots, np.int64)
    room[slots] = size + rng.integers(0, 2, n)  # the others are closed
    pins = [rng.permutation(n + 1)[: rng.integers(2, min(6, n + 1) + 1)] for _ in range(15)]
    first = np.concatenate([[0], np.cumsum([p.size for p in pins])])
    bits = rng.uniform(1, 9, 15)
    nets = Nets(n, first, np.concatenate(pins), bits, bits)
    slot_of, thing_at = np.append(slots, 0), np.full(n_slots, -1)
    thing_at[slots] = np.arange(n)
    anneal(
        nets.first, nets.pin, bits, *nets.by_thing(), slot_of, thing_at, np.append(size, 0), room,
        width, height, per, moves, 10.0, 0.1, 1,
    )  # fmt: skip
    assert slot_of[n] == 0  # what is fixed stays
    assert len(set(slot_of[:n].tolist())) == n
    assert (thing_at[slot_of[:n]] == np.arange(n)).all()
    assert (thing_at >= 0).sum() == n
    assert (size <= room[slot_of[:n]]).all()


def test_draws_are_those_of_splitmix64():
    """First outputs for seed 0, as published with the algorithm (Steele, Lea and Flood, 2014)."""
    state, found = np.uint64(0), []
    for _ in range(3):
        state, bits = draw(np.uint64(state))
        found.append(int(bits))
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert found == [value >> 11 for value in known]

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.chip import Cost, Range, load_chip
from hw_models.errors import Bug
from hw_models.events import KINDS
from hw_models.ledger import Static, ledger, static_of
from tests.near import near

TOY = load_chip("toy")
LOIHI = load_chip("loihi-like")
COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(KINDS))),
    st.integers(0, 10**15),
    max_size=40,
)


def power(low, nominal, high, *, n_chips=3, seconds=0.5, streams=2):
    return Static(n_chips, Range(low, nominal, high), seconds, streams, "hand", "derived")


def test_a_hand_computed_toy_token():
    """Prices of toy.toml: add 1 pJ, fetch 4, x hop 12, neuron 16, encode 17; 10 mW a chip."""
    book = ledger(
        {
            ("up", "synop_add"): 1000,
            ("up", "weight_fetch"): 100,
            ("up", "flit_x"): 10,
            ("up", "neuron_update"): 5,
            ("down", "encode"): 3,
            ("embed", "host_bit"): 64,
        },
        TOY.costs,
        static=static_of(TOY, n_chips=2, seconds=1e-6, streams=4),
    )
    levels = {name: e.nominal * 1e12 for name, e in book.levels().items()}
    assert levels == near(
        {
            "arithmetic": 1000,
            "memory": 1400,
            "network": 1520,
            "rest": 1651,
            "static": 6651,  # 2 x 10 mW x 1 us / 4 = 5,000 pJ
        },
        rel=1e-12,
    )
    assert book.levels()["arithmetic"].low == near(500e-12, rel=1e-12)
    assert book.levels()["arithmetic"].high == near(2000e-12, rel=1e-12)
    assert [(u.operation, u.kind, u.count) for u in book.unpriced] == [("embed", "host_bit", 64)]
    assert book.assumed_share() == 1.0


def test_a_cost_that_holds_its_weight_fetch_says_so_and_pays_once():
    counts = {("up", "synop_add"): 7, ("up", "synop_mac"): 2, ("up", "weight_fetch"): 9}
    book = ledger(counts, LOIHI.costs)
    assert [r.kind for r in book.priced] == ["synop_add", "synop_mac"]
    assert {r.note for r in book.priced} == {"includes weight_fetch"}
    assert {r.level for r in book.priced} == {"arithmetic"}
    assert [(i.kind, i.count, i.cost) for i in book.included] == [("weight_fetch", 9, "synop")]
    assert book.unpriced == ()
    assert book.total().nominal == near(9 * 23.6e-12, rel=1e-12)


def test_an_included_kind_whose_cost_is_never_paid_is_unpriced():
    book = ledger({("up", "weight_fetch"): 9}, LOIHI.costs)
    assert book.included == ()
    assert [(u.kind, u.count) for u in book.unpriced] == [("weight_fetch", 9)]


def test_without_time_there_is_no_static_level():
    book = ledger({("up", "encode"): 1}, TOY.costs)
    assert list(book.levels()) == ["arithmetic", "memory", "network", "rest"]


def test_assumed_share_weighs_joules():
    costs = (
        Cost("a", ("synop_add",), ("synop_add",), Range(1.0, 1.0, 1.0), "s", "assumed"),
        Cost("b", ("encode",), ("encode",), Range(3.0, 3.0, 3.0), "s", "measured"),
    )
    both = {("x", "synop_add"): 1, ("x", "encode"): 1}
    assert ledger(both, costs).assumed_share() == 0.25
    assert ledger({}, costs).assumed_share() == 0.0


def test_static_power_is_shared_by_the_streams():
    row = ledger({}, (), static=power(1.0, 2.0, 4.0)).priced[0]
    assert row.joules == Range(3 * 0.25, 3 * 0.5, 3 * 1.0)
    assert (row.kind, row.level, row.count, row.cost) == ("static", "static", 3, "static_power")


@settings(max_examples=100, deadline=None)
@given(counts=COUNTS)
@pytest.mark.parametrize("chip", [TOY, LOIHI], ids=["toy", "loihi-like"])
def test_every_count_is_priced_included_or_unpriced_exactly_once(chip, counts):
    book = ledger(counts, chip.costs, static=static_of(chip, 1, 1e-3))
    seen = [
        ((r.operation, r.kind), r.count)
        for part in (book.priced[:-1], book.included, book.unpriced)
        for r in part
    ]
    assert len(seen) == len(dict(seen))
    assert dict(seen) == {key: n for key, n in counts.items() if n}


@settings(max_examples=100, deadline=None)
@given(counts=COUNTS, seconds=st.floats(0, 10), streams=st.integers(1, 64))
def test_rows_add_up_to_the_total_and_levels_only_grow(counts, seconds, streams):
    book = ledger(counts, LOIHI.costs, static=static_of(LOIHI, 24, seconds, streams))
    rows = book.rows()
    total = book.total()
    for column, value in zip(
        ("low_j", "energy_j", "high_j"), (total.low, total.nominal, total.high), strict=True
    ):
        assert math.fsum(row[column] for row in rows) == value
    for row in rows[:-1]:
        assert row["energy_j"] == row["count"] * row["unit_j"]
        assert row["low_j"] <= row["energy_j"] <= row["high_j"]
    steps = [e.nominal for e in book.levels().values()]
    assert steps == sorted(steps)
    assert list(book.levels().values())[-1] == total
    assert 0.0 <= book.assumed_share() <= 1.0


@settings(max_examples=50, deadline=None)
@given(counts=COUNTS, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_the_counts_does_not_matter(counts, seed):
    keys = list(counts)
    np.random.default_rng(seed).shuffle(keys)
    shuffled = {tuple(key): counts[tuple(key)] for key in keys}
    assert ledger(shuffled, LOIHI.costs) == ledger(counts, LOIHI.costs)


def test_doubling_a_count_doubles_its_joules_and_numpy_ints_are_ints():
    one = ledger({("x", "flit_y"): np.int64(21)}, LOIHI.costs).total()
    two = ledger({("x", "flit_y"): 42}, LOIHI.costs).total()
    assert two.nominal == 2 * one.nominal == near(42 * 4.0e-12, rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        ("synop_addd", 1, "no event kind 'synop_addd'"),
        ("synop_add", -1, "count of synop_add is -1"),
        ("synop_add", 1.5, "count of synop_add is 1.5, not an int"),
        ("synop_add", float("nan"), "not an int"),
    ],
)
def test_a_count_that_cannot_be_is_our_bug(kind, count, said):
    with pytest.raises(Bug, match=said):
        ledger({("up", kind): count}, TOY.costs)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_time_that_cannot_be_is_our_bug(seconds):
    with pytest.raises(Bug):
        ledger({}, (), static=power(1.0, 1.0, 1.0, seconds=seconds))
    with pytest.raises(Bug):
        ledger({}, (), static=power(1.0, 1.0, 1.0, streams=0))

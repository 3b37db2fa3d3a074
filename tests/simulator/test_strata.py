"""Strata, positions, and estimates: unbiased by enumeration, honest by repetition."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_models.errors import BadInput
from simulator.strata import LEAST, SPARSE, drawn, estimate, strata


@given(
    first=st.integers(0, 5000),
    sample=st.integers(LEAST, 40),
    more=st.integers(0, 2**20),
    bends=st.lists(st.integers(0, 2**20), max_size=3),
)
def test_strata_follow_each_other_and_end_where_cost_bends(first, sample, more, bends):
    end = first + SPARSE * sample + more
    found = strata(first, end, sample, bends)
    assert len(found) == sample // 2
    assert [lo for lo, _ in found] == [first, *(hi for _, hi in found[:-1])]
    assert found[-1][1] == end and min(hi - lo for lo, hi in found) >= 2
    inside = sorted({b for b in bends if first + 2 <= b <= end - 2})
    apart = all(b - a >= 2 for a, b in pairwise(inside))
    if apart and len(inside) < sample // 2:
        assert set(inside) <= {lo for lo, _ in found}


@given(n=st.integers(64, 3000), sample=st.integers(LEAST, 32), seed=st.integers(0, 99))
def test_two_positions_of_each_stratum_are_drawn_and_an_odd_one_of_the_longest(n, sample, seed):
    found = strata(7, 7 + n, sample, [20])
    at = drawn(found, sample, seed)
    assert list(at) == sorted(set(at)) and len(at) == sample
    of = [sum(lo <= p < hi for p in at) for lo, hi in found]
    assert sorted(of) == [2] * (len(found) - sample % 2) + [3] * (sample % 2)
    assert at == drawn(found, sample, seed)


def test_every_position_is_as_likely_and_a_seed_is_a_draw():
    found = strata(0, 16, 4)
    many = [drawn(found, 4, seed) for seed in range(4000)]
    times = np.bincount(np.concatenate(many), minlength=16)
    assert len(set(many)) > 500
    assert abs(times - 1000).max() < 5 * np.sqrt(1000 * 0.75)  # 5 sigma of a binomial


def test_estimates_are_unbiased_over_all_samples_there_are():
    """The mean of all estimates is the total, and that of their variances is their variance."""
    y = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.3, 5.8, 9.7])
    found = ((0, 4), (4, 9))
    every = [(*a, *b) for a, b in product(combinations(range(4), 2), combinations(range(4, 9), 2))]
    totals, variances = [], []
    for at in every:
        total, variance = 0.0, 0.0
        e = estimate(found, at, y[list(at)])
        for lo, hi in found:
            one, other = (y[p] for p in at if lo <= p < hi)
            variance += (hi - lo) * (hi - lo - 2) / 2 * (one - other) ** 2 / 2
            total += (hi - lo) * (one + other) / 2
        assert e.total == pytest.approx(total) and e.simulated == pytest.approx(y[list(at)].sum())
        assert 1 <= e.freedom <= 2
        # Student's t at 97.5 %, of 1 and 2 degrees of freedom: tables have 12.706 and 4.303
        assert 4.302 <= e.margin / np.sqrt(variance) <= 12.707
        totals.append(total)
        variances.append(variance)
    assert np.mean(totals) == pytest.approx(y.sum())
    assert np.mean(variances) == pytest.approx(np.var(totals))


N = 4000
NOISE = np.random.default_rng(0).normal(0, 0.01, N)
FILLING = np.minimum(np.arange(N), 127) / 127  # a window of 128 tokens: full from position 127 on
POPULATIONS = {
    "spikes alone": (1 + NOISE, ()),
    "full attention": (1 + np.arange(N) / N + NOISE, ()),
    "a window that fills up": (1 + FILLING + NOISE / 1000, (127,)),
    "skewed": (np.random.default_rng(1).exponential(1, N), ()),
}


def covered(y, bends, sample=32, times=200):
    """Share of intervals that hold the total."""
    hits = 0
    for seed in range(times):
        found = strata(0, N, sample, bends)
        at = drawn(found, sample, seed)
        e = estimate(found, at, y[list(at)])
        hits += abs(e.total - y.sum()) <= e.margin
    return hits / times


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("sample", [8, 32])
def test_nineteen_of_twenty_intervals_hold_the_total(name, sample):
    assert covered(*POPULATIONS[name], sample) > 0.9  # 3 sigma below 0.95


def test_a_stratum_across_a_bend_would_miss_it():
    y, bends = POPULATIONS["a window that fills up"]
    assert covered(y, bends) > 0.9 > 0.85 > covered(y, ())


def test_where_all_costs_are_the_same_there_is_no_doubt():
    found = strata(0, 100, 8)
    e = estimate(found, drawn(found, 8, 0), [2.5] * 8)
    assert (e.total, e.margin, e.freedom) == (250, 0, 4)


@pytest.mark.parametrize(
    ("tokens", "sample", "fix"),
    [(100, 3, "at least 4"), (100, 51, "at most 50"), (3, 8, "leave it out"), (0, 4, "leave it")],
)
def test_too_few_and_too_many_windows_are_refused(tokens, sample, fix):
    with pytest.raises(BadInput) as error:
        strata(5, 5 + tokens, sample)
    assert error.value.where == "--sample" and fix in error.value.fix

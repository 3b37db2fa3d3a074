"""Distributions of largest entropy: they have the figures asked for, and no more structure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.profile import MOST, draw, largest_entropy


def figures(pmf):
    n = range(pmf.size)
    mean = sum(k * p for k, p in zip(n, pmf, strict=True))
    bits = sum(bin(k).count("1") * p for k, p in zip(n, pmf, strict=True))
    return 1 - pmf[0], mean, bits


@settings(max_examples=20, deadline=None)
@given(active=st.floats(0.05, 1), mean=st.floats(1.5, 9), more=st.floats(1.1, 1.6))
def test_a_distribution_has_the_figures_it_was_made_for(active, mean, more):
    pmf = largest_entropy(active, active * mean, None)
    assert pmf.min() >= 0
    np.testing.assert_allclose(figures(pmf)[:2], (active, active * mean), rtol=1e-9)
    if more < 0.98 * (1 + (min(mean, 3) - 1) / 2):  # ones and threes have the most bits of a mean
        both = largest_entropy(active, active * mean, active * more)
        np.testing.assert_allclose(figures(both), (active, active * mean, active * more), rtol=1e-9)


def test_with_a_mean_alone_it_is_geometric():
    """The geometric distribution has the largest entropy of all with its mean."""
    pmf = largest_entropy(0.8, 2.0, None)
    q = 1 - 0.8 / 2
    np.testing.assert_allclose(pmf[1:40], 0.8 * (1 - q) * q ** np.arange(39), rtol=1e-8)


def test_shares_of_small_counts_are_met_and_the_tail_is_short():
    pmf = largest_entropy(0.816, 3.0, 1.13, ((7, 0.941), (16, 0.99)))
    np.testing.assert_allclose((pmf[:8].sum(), pmf[:17].sum()), (0.941, 0.99), rtol=1e-9)
    assert pmf[MOST // 2 :].sum() < 1e-100


@pytest.mark.parametrize(
    "impossible", [(0.5, 0.4, None, ()), (0.5, 1.0, 0.2, ()), (0.8, 3.0, None, ((7, 0.1),))]
)
def test_figures_that_contradict_each_other_are_an_error(impossible):
    with pytest.raises((ValueError, ArithmeticError, np.linalg.LinAlgError)):
        largest_entropy(*impossible)


def test_counts_are_drawn_as_often_as_they_should_be_and_signs_are_even():
    pmf = np.array([0.2, 0.5, 0.0, 0.3])
    found = draw(np.random.default_rng(1), 100_000, pmf)
    values, number = np.unique(found, return_counts=True)
    assert values.tolist() == [-3, -1, 0, 1, 3]
    wanted = 1e5 * np.array([0.15, 0.25, 0.2, 0.25, 0.15])
    assert (np.abs(number - wanted) < 5 * np.sqrt(wanted)).all()
    spikes = draw(np.random.default_rng(1), 1000, np.array([0.9, 0.1]))
    assert set(spikes.tolist()) == {0, 1}

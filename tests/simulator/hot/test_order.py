"""Links in topological order, and ways that go straight on: by definition, on random graphs."""

import numpy as np
import pytest

from simulator.hot.order import rank, straighten


def test_every_link_comes_after_those_that_hand_on_to_it():
    """Random graphs from lower to higher numbers, renamed; then one edge back."""
    rng = np.random.default_rng(3)
    for n in (1, 2, 50):
        name = rng.permutation(n)
        a, b = np.sort(rng.integers(0, n, (2, 3 * n)), axis=0)
        pairs = np.unique(np.stack([name[a], name[b]])[:, a < b], axis=1)
        order, found = rank(*pairs, n)
        assert found == n and sorted(order.tolist()) == list(range(n))
        at = np.argsort(order)
        assert (at[pairs[0]] < at[pairs[1]]).all()
    back = np.unique(np.concatenate([pairs, pairs[::-1, :1]], axis=1), axis=1)
    assert rank(*back, n)[1] < n


@pytest.mark.parametrize("most", [0, 1, 3, 100])
def test_a_straight_way_ends_where_a_walk_does(most):
    """Walks of random lengths, cut so that none is longer than `most`: every node is behind as many
    others as it says, and its end is one that goes on no more, or is cut there."""
    rng = np.random.default_rng(most)
    n = 200
    child = np.minimum(np.arange(n) + rng.integers(1, 4, n), n - 1)
    straight = rng.random(n) < 0.8
    straight[-1] = False
    left, end = straighten(child, straight, most)
    assert left.max() <= most
    for node in range(n):
        at = node
        for _ in range(left[node]):
            assert straight[at]
            at = child[at]
        assert at == end[node] and left[at] == 0
        assert not straight[at] or left[child[at]] == most

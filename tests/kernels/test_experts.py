"""A router's choice and the weighted sum of what it chose."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.experts import choose, mixture

torch.set_num_threads(1)


@settings(max_examples=100, deadline=None)
@given(
    # few levels, so that many are equal
    logits=st.lists(st.integers(-3, 3).map(lambda i: i / 2), min_size=1, max_size=20),
    top_k=st.integers(1, 20),
)
def test_the_largest_are_chosen_and_ties_go_to_the_lower_index(logits, top_k):
    top_k = min(top_k, len(logits))
    left, wanted = dict(enumerate(logits)), []
    for _ in range(top_k):
        best = min(i for i, x in left.items() if x == max(left.values()))
        wanted.append(best)
        del left[best]
    experts, weights = choose(torch.tensor(logits), top_k, "softmax")
    assert experts == tuple(sorted(wanted))
    powers = np.exp(np.array(logits))
    np.testing.assert_allclose(weights, powers[list(experts)] / powers.sum(), rtol=1e-6)


def test_a_sigmoid_scores_each_expert_alone():
    experts, weights = choose(torch.tensor([0.0, -2.0, 1.0]), 2, "sigmoid")
    assert experts == (0, 2)
    assert weights.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-1))])


def test_scores_that_round_to_one_value_are_still_told_apart():
    """Chosen by the logits: the sigmoid of both is 1 in float32."""
    assert choose(torch.tensor([40.0, 50.0]), 1, "sigmoid")[0] == (1,)


def test_products_and_sums_are_rounded_one_by_one_in_ascending_order():
    rng = np.random.default_rng(0)
    shared, chosen = rng.normal(size=7).astype(np.float32), rng.normal(size=(3, 7))
    chosen, weights = (chosen * 1e3).astype(np.float32), rng.random(3).astype(np.float32)
    wanted = shared
    for i in range(3):
        wanted = wanted + (weights[i] * chosen[i])  # NumPy rounds each to float32
    found = mixture(*map(torch.from_numpy, (shared, weights, chosen)))
    np.testing.assert_array_equal(found.numpy(), wanted)
    other = mixture(*map(torch.from_numpy, (shared, weights[::-1].copy(), chosen[::-1].copy())))
    assert (other.numpy() != wanted).any()  # the order can be seen

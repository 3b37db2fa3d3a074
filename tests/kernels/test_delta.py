"""Differences between tokens lose nothing and never wrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hw_models.errors import BadInput
from kernels.coding import CODINGS, decode, encode
from kernels.delta import delta_decode, delta_encode, delta_step

HALF = 2**30  # two int32 counts of up to this size differ by an int32
counts_of_tokens = hnp.arrays(
    np.int32,
    st.tuples(st.integers(1, 12), st.integers(1, 9)),
    elements=st.integers(-HALF + 1, HALF - 1),
)


@settings(max_examples=80, deadline=None)
@given(counts_of_tokens)
def test_decoding_gives_the_counts_back(counts):
    np.testing.assert_array_equal(delta_decode(delta_encode(counts)), counts)


@settings(max_examples=50, deadline=None)
@given(counts_of_tokens)
def test_a_sequence_is_its_steps_from_zero(counts):
    d = delta_encode(counts)
    assert d.dtype == np.int64
    before = np.zeros_like(counts[0])
    for t, now in enumerate(counts):
        np.testing.assert_array_equal(d[t], delta_step(before, now))
        np.testing.assert_array_equal(
            d[t], [int(a) - int(b) for a, b in zip(now, before, strict=True)]
        )
        before = now


@settings(max_examples=50, deadline=None)
@given(counts_of_tokens, st.integers(0, 2**32 - 1))
def test_the_receivers_accumulator_is_the_whole_product(counts, seed):
    weight = np.random.default_rng(seed).integers(-127, 128, (5, counts.shape[1]))
    accumulator = np.zeros(5, np.int64)
    for d, now in zip(delta_encode(counts), counts, strict=True):
        accumulator += weight @ d
        whole = [sum(int(w) * int(s) for w, s in zip(row, now, strict=True)) for row in weight]
        assert accumulator.tolist() == whole


def test_equal_tokens_send_nothing():
    counts = np.tile(np.array([3, -7, 0], np.int32), (4, 1))
    d = delta_encode(counts)
    assert d[0].tolist() == [3, -7, 0]
    assert not d[1:].any()


@pytest.mark.parametrize(
    ("previous", "now", "fits"),
    [
        (-1, 2**31 - 2, True),
        (-1, 2**31 - 1, False),
        (0, -(2**31), True),
        (1, -(2**31), False),
        (2**31 - 1, -(2**31), False),  # int32 arithmetic would wrap to 1
        (-(2**31), 2**31 - 1, False),
    ],
)
def test_a_difference_fits_int32_or_is_refused(previous, now, fits):
    pair = np.array([previous], np.int32), np.array([now], np.int32)
    if fits:
        assert delta_step(*pair).tolist() == [now - previous]
        return
    with pytest.raises(BadInput, match=str(now - previous)) as error:
        delta_step(*pair, site="layer 3 up", token=17)
    assert error.value.where == "site layer 3 up, token 17"


def test_the_refusal_names_the_token_it_happened_at():
    counts = np.zeros((5, 3), np.int32)
    counts[2, 1], counts[3, 1] = -(2**31) + 1, 2
    with pytest.raises(BadInput) as error:
        delta_encode(counts, site="s")
    assert error.value.where == "site s, token 3"


@pytest.mark.parametrize("coding", [name for name, row in CODINGS.items() if row.delta])
@settings(max_examples=30, deadline=None)
@given(counts_of_tokens)
def test_differences_survive_every_coding_that_may_carry_them(coding, counts):
    received = [decode(encode(d, coding), d.size) for d in delta_encode(counts)]
    np.testing.assert_array_equal(delta_decode(np.array(received)), counts)

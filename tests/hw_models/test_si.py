"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_models.si import change, interval, share, si, size, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 J"),
        (1, "1.00 J"),
        (12.34, "12.3 J"),
        (123.4, "123 J"),
        (999.6, "1.00 kJ"),
        (999.4, "999 J"),
        (4.01e-4, "401 uJ"),
        (0.99996e-9, "1.00 nJ"),
        (23.6e-12, "23.6 pJ"),
        (1e-15, "1.00 fJ"),
        (-2.5e-3, "-2.50 mJ"),
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
    ],
)
def test_three_digits_and_a_prefix(value, text):
    assert si(value, "J") == text


@given(st.floats(1e-17, 1e14))
def test_what_is_read_back_is_what_was_meant(value):
    number, unit = si(value, "J").split()
    powers = {"a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9}
    power = (powers | {"T": 12, "": 0})[unit.removesuffix("J")]
    assert float(number) * 10.0**power == pytest.approx(value, rel=5.1e-3)
    assert len(number.replace(".", "")) == 3 or value >= 999e12


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (29.1e-6, 152e-6, "29.1 .. 152 uJ"),
        (0.567e-3, 1.16e-3, "0.567 .. 1.16 mJ"),
        (1e-9, 1.0, "1.00 nJ .. 1.00 J"),
        (2e-6, 2e-6, "2.00 uJ"),
        (0.0, 5.0, "0 .. 5.00 J"),
    ],
)
def test_both_ends_share_a_prefix(low, high, text):
    assert interval(low, high, "J") == text


@pytest.mark.parametrize(
    ("value", "reference", "text"),
    [
        (0.0339, 1.5, "-97.7 %"),
        (1.045, 1.0, "+4.5 %"),
        (1.99, 1.0, "+99.0 %"),
        (2.0, 1.0, "2 x"),
        (94.2, 1.0, "94.2 x"),
        (None, 1.0, "-"),
        (1.0, None, "-"),
        (1.0, 0.0, "-"),
    ],
)
def test_changes_are_percent_and_then_times(value, reference, text):
    assert change(value, reference) == text


def test_counts_and_shares():
    assert whole(1234567.4) == "1,234,567"
    assert whole(None) == share(None) == share(float("nan")) == "-"
    assert share(0.184) == "18.4 %"


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5 << 29, "2.5 GiB")]
)
def test_sizes_have_binary_prefixes(n, text):
    assert size(n) == text

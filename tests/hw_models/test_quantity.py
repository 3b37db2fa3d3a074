import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.quantity import (
    count,
    energy_j,
    positive,
    power_w,
    size_bytes,
    time_ps,
    width_bits,
)

PARSERS = (energy_j, power_w, time_ps, size_bytes, width_bits)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (energy_j, "23.6 pJ", 23.6e-12),
        (energy_j, "0.1pJ", 1e-13),
        (energy_j, "50 fJ", 5e-14),
        (energy_j, "2.5e3 nJ", 2.5e-6),
        (power_w, "700 mW", 0.7),
        (power_w, "2.6 kW", 2600.0),
        (time_ps, "3.5 ns", 3500),
        (time_ps, "14.3 us", 14_300_000),
        (time_ps, "2 s", 2_000_000_000_000),
        (size_bytes, "128 KiB", 131_072),
        (size_bytes, "256KiB", 262_144),
        (size_bytes, "1.5 KiB", 1536),
        (width_bits, "32 bit", 32),
        (count, 0, 0),
        (count, 4096, 4096),
    ],
)
def test_text_becomes_exactly_the_si_value(parse, text, value):
    got = parse(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("parse", "raw", "message"),
    [
        (energy_j, "5 pF", "'5 pF' is not a number with one of fJ, pJ, nJ, uJ, mJ, J"),
        (energy_j, 5, "5 is not a number with one of fJ"),
        (energy_j, 5.0, "5.0 is not a number with one of fJ"),
        (energy_j, "5", "'5' is not a number with one of fJ"),
        (energy_j, "-5 pJ", "'-5 pJ' is not a number with one of fJ"),
        (energy_j, "+5 pJ", "'\\+5 pJ' is not a number with one of fJ"),
        (energy_j, "nan pJ", "is not a number with"),
        (energy_j, "inf pJ", "is not a number with"),
        (energy_j, "5 PJ", "is not a number with"),
        (energy_j, "5  pJ", "is not a number with"),
        (energy_j, " 5 pJ", "is not a number with"),
        (energy_j, "5 pJ\n", "is not a number with"),
        (energy_j, "\u0665 pJ", "is not a number with"),
        (energy_j, "1e999999999 pJ", "is not a number with"),
        (energy_j, True, "True is not a number with"),
        (power_w, "5 pJ", "is not a number with one of uW, mW, W, kW"),
        (time_ps, "0.5 ps", "'0.5 ps' is not a whole number of ps"),
        (time_ps, "1e9 s", "is more than 2\\^63 - 1 ps"),
        (size_bytes, "5 KB", "is not a number with one of B, KiB, MiB, GiB"),
        (size_bytes, "0.3 KiB", "is not a whole number of B"),
        (width_bits, "8 bits", "is not a number with one of bit"),
        (count, "5", "'5' is not a whole number without a unit"),
        (count, 5.0, "5.0 is not a whole number without a unit"),
        (count, True, "True is not a whole number without a unit"),
        (count, -1, "-1 is not between 0 and"),
        (count, 2**63, "is not between 0 and"),
        (positive(count), 0, "0 must be more than 0"),
        (positive(size_bytes), "0 KiB", "'0 KiB' must be more than 0"),
    ],
)
def test_anything_else_is_refused_by_name(parse, raw, message):
    with pytest.raises(ValueError, match=message):
        parse(raw)


@settings(max_examples=100, deadline=None)
@given(mantissa=st.integers(0, 10**9), places=st.integers(0, 9))
def test_energy_equals_the_float_literal_of_the_same_digits(mantissa, places):
    whole, part = divmod(mantissa, 10**places)
    digits = f"{whole}.{part:0{places}d}" if places else f"{whole}"
    assert energy_j(f"{digits} pJ") == float(f"{digits}e-12")


@settings(max_examples=100, deadline=None)
@given(n=st.integers(0, 10**6), unit=st.sampled_from(["ps", "ns", "us", "ms", "s"]))
def test_whole_times_are_exact(n, unit):
    steps = {"ps": 0, "ns": 1, "us": 2, "ms": 3, "s": 4}[unit]
    assert time_ps(f"{n} {unit}") == n * 1000**steps


@settings(max_examples=100, deadline=None)
@given(raw=st.one_of(st.none(), st.floats(), st.integers(), st.binary(), st.lists(st.text())))
@pytest.mark.parametrize("parse", PARSERS)
def test_only_text_carries_a_unit(parse, raw):
    with pytest.raises(ValueError, match="is not a number with one of"):
        parse(raw)


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=12))
@pytest.mark.parametrize("parse", PARSERS)
def test_arbitrary_text_is_a_value_at_or_above_zero_or_a_value_error(parse, text):
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0

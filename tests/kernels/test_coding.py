"""Every coding is exact on integers, and sends the spikes and steps that the table says."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hw_models.errors import BadInput
from hw_models.events import KINDS
from kernels.coding import CODINGS, decode, density, encode, spikes, steps

INT32 = st.integers(-(2**31), 2**31 - 1)
ALL = sorted(CODINGS)


def vectors(elements):
    """int64[n] counts: small ones, wide ones, and mostly silent ones."""
    return hnp.arrays(np.int64, st.integers(1, 40), elements=elements, fill=st.just(0))


COUNTS = vectors(st.one_of(st.integers(-9, 9), INT32))


@pytest.mark.parametrize("coding", ALL)
@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_a_decoded_train_is_the_counts(coding, counts):
    np.testing.assert_array_equal(decode(encode(counts, coding), counts.size), counts)


@pytest.mark.parametrize("coding", ALL)
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 1, -1, 0])
def test_a_decoded_train_is_the_count_at_the_ends_of_the_range(coding, value):
    counts = np.array([value, 0, value])
    np.testing.assert_array_equal(decode(encode(counts, coding), 3), counts)


@pytest.mark.parametrize("coding", ALL)
@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_spikes_counted_in_closed_form_are_those_sent(coding, counts):
    train = encode(counts, coding)
    sent = np.zeros(counts.size, np.int64)
    np.add.at(sent, train.channel, train.times)
    np.testing.assert_array_equal(spikes(counts, coding), sent)
    assert train.n_spikes == sent.sum()


@pytest.mark.parametrize("coding", ALL)
@settings(max_examples=60, deadline=None)
@given(vectors(st.integers(-20, 20)))
def test_a_channel_sends_one_symbol_of_the_alphabet_per_step(coding, counts):
    train = encode(counts, coding, bits=6)
    symbols = np.zeros((counts.size, train.steps), np.int64)
    weight = 2 ** train.step.astype(np.int64) if coding.startswith("bitwise") else 1
    if coding == "bitwise-2c":
        weight = np.where(train.step == 5, -32, weight)
    for channel, step, symbol, times in zip(
        train.channel, train.step, train.payload // weight, train.times, strict=True
    ):
        symbols[channel, step : step + times] += symbol
        assert step + times <= train.steps
    alphabet = CODINGS[coding].alphabet
    if alphabet != "integers":
        assert set(symbols.flat) <= {int(s) for s in alphabet.split()}
    assert np.count_nonzero(symbols) == train.n_spikes


@pytest.mark.parametrize("coding", ALL)
@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_a_channel_s_spikes_leave_back_to_back_and_channels_in_order(coding, counts):
    train = encode(counts, coding)
    assert (np.diff(train.channel) >= 0).all()
    same = np.diff(train.channel) == 0
    assert (np.diff(train.step)[same] > 0).all()
    assert (train.times > 0).all()
    assert (train.payload != 0).all()


@pytest.mark.parametrize(
    ("coding", "sent", "t"),
    [  # counts 0, 1, -2, 5, -7, 127; worked out by hand
        ("binary", [7, 8, 5, 12, 0, 134], 134),
        ("ternary", [0, 1, 2, 5, 7, 127], 127),
        ("bitwise", [0, 1, 1, 2, 3, 7], 7),
        ("bitwise-2c", [0, 1, 7, 2, 6, 7], 8),  # -2 = 11111110, -7 = 11111001
        ("graded", [0, 1, 1, 1, 1, 1], 1),
    ],
)
def test_spikes_and_steps_of_the_table(coding, sent, t):
    counts = np.array([0, 1, -2, 5, -7, 127])
    assert spikes(counts, coding, bits=8).tolist() == sent
    assert steps(counts, coding, bits=8) == encode(counts, coding, bits=8).steps == t


def test_payloads_of_one_count_by_hand():
    minus_five = np.array([-5])
    assert encode(minus_five, "bitwise").payload.tolist() == [-1, -4]
    assert encode(minus_five, "bitwise-2c", bits=4).payload.tolist() == [1, 2, -8]
    assert encode(minus_five, "graded").payload.tolist() == [-5]
    ternary = encode(minus_five, "ternary")
    assert (ternary.payload.tolist(), ternary.times.tolist()) == ([-1], [5])
    binary = encode(np.array([-5, -3]), "binary")
    assert (binary.payload.tolist(), binary.times.tolist()) == ([1], [2])
    assert binary.zero_point == -5


@pytest.mark.parametrize("counts", [[1, 1, 1], [0, 1], [1], [3, 2, 5]])
def test_binary_spikes_without_negative_counts_are_the_counts(counts):
    """Neurons that all spike send a spike each: nothing is subtracted from what is not negative."""
    train = encode(np.array(counts), "binary")
    assert (train.zero_point, train.payload.tolist()) == (0, [1] * sum(c > 0 for c in counts))
    assert train.times.tolist() == [c for c in counts if c]
    assert spikes(np.array(counts), "binary").tolist() == counts
    assert steps(np.array(counts), "binary") == max(counts)


@pytest.mark.parametrize("coding", ALL)
def test_a_silent_token_takes_no_step(coding):
    silent = np.zeros(5, np.int32)
    train = encode(silent, coding, bits=7)
    assert (train.steps, train.n_spikes, train.zero_point) == (0, 0, 0)
    assert train.channel.size == 0
    found = density(silent, coding, bits=7)
    assert (found.silent_share, found.spikes_per_channel, found.steps) == (1, 0, 0)
    assert np.isnan(found.slot_share)


@pytest.mark.parametrize("coding", ["bitwise-2c", "graded"])
@pytest.mark.parametrize("bits", [2, 5, 16])
def test_a_fixed_width_refuses_the_first_count_beyond_it(coding, bits):
    half = 2 ** (bits - 1)
    ends = np.array([-half, half - 1])
    np.testing.assert_array_equal(decode(encode(ends, coding, bits=bits), 2), ends)
    for beyond in (-half - 1, half):
        with pytest.raises(BadInput, match=f"count of {beyond} needs") as error:
            encode(np.array([0, beyond]), coding, bits=bits, site="layers.3.o_in", token=17)
        assert error.value.where == "site layers.3.o_in, token 17"


def test_the_count_that_is_refused_is_the_one_named():
    """-8 takes four bits, 8 takes five, though both are as large."""
    with pytest.raises(BadInput, match="count of 8 needs"):
        encode(np.array([-8, 8]), "graded", bits=4)


def test_payload_bits_hold_what_a_message_must_tell():
    at = {name: [row.payload(bits) for bits in (2, 8, 9, 32)] for name, row in CODINGS.items()}
    assert at == {
        "binary": [0, 0, 0, 0],
        "ternary": [1, 1, 1, 1],
        "bitwise": [6, 6, 6, 6],
        "bitwise-2c": [1, 3, 4, 5],
        "graded": [2, 8, 9, 32],
    }
    assert CODINGS["bitwise-2c"].payload_bits == 5


def test_codes_are_the_order_of_the_table_and_synops_are_event_kinds():
    assert [row.code for row in CODINGS.values()] == list(range(len(CODINGS)))
    assert all(row.name == name and row.synop in KINDS for name, row in CODINGS.items())
    assert [name for name, row in CODINGS.items() if not row.delta] == ["binary"]


def test_density_by_its_three_definitions():
    found = density(np.array([0, 0, 3, -4]), "bitwise")  # 2 + 1 spikes in 4 channels x 3 steps
    assert found.silent_share == 0.5
    assert found.spikes_per_channel == 0.75
    assert found.slot_share == 0.25
    assert found.steps == 3


def test_gaussian_input_spikes_as_published():
    """Mean |n| near k = 3, 1.30 bitwise spikes per channel, 10.6 % silent, 95.4 % of |n| <= 7."""
    x = np.random.default_rng(0).standard_normal(200_000)
    counts = np.rint(x / (np.abs(x).mean() / 3)).astype(np.int32)
    assert np.abs(counts).mean() == pytest.approx(3, abs=0.02)
    found = density(counts, "bitwise")
    assert found.spikes_per_channel == pytest.approx(1.30, abs=0.01)
    assert found.silent_share == pytest.approx(0.106, abs=0.003)
    assert (np.abs(counts) <= 7).mean() == pytest.approx(0.954, abs=0.003)
    assert density(counts, "ternary").spikes_per_channel == pytest.approx(3, abs=0.02)


def test_the_table_needs_no_torch():
    code = "import sys, kernels.coding; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

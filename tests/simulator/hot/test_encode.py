"""The hot encoder reports by status what the reference refuses, and sends the table's spikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.coding import CODINGS, encode
from simulator.hot import encode as hot
from simulator.hot import expand

ALL = sorted(CODINGS)
COUNTS = hnp.arrays(
    np.int32,
    st.integers(1, 40),
    elements=st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1)),
    fill=st.just(0),
)


def expanded(counts, coding, bits=32, room=None):
    room = 32 * counts.size if room is None else room
    channel, payload, times = (
        np.empty(room, np.int32),
        np.empty(room, np.int64),
        np.empty(room, int),
    )
    n, zero_point, status = hot.expand(counts, CODINGS[coding].code, bits, channel, payload, times)
    return channel[:n], payload[:n], times[:n], zero_point, status


@pytest.mark.parametrize("coding", ALL)
@settings(max_examples=50, deadline=None)
@given(COUNTS)
def test_expanded_events_are_those_of_the_coding_table(coding, counts):
    channel, payload, times, zero_point, status = expanded(counts, coding)
    train = encode(counts, coding)
    assert status == hot.OK
    np.testing.assert_array_equal(channel, train.channel)
    np.testing.assert_array_equal(payload, train.payload)
    np.testing.assert_array_equal(times, train.times)
    assert zero_point == train.zero_point


def test_an_expanded_count_by_hand():
    counts = np.array([0, -5], np.int32)
    payload = {name: expanded(counts, name, bits=4)[1].tolist() for name in ALL}
    assert payload == {
        "binary": [1],  # channel 0, five times above the zero point -5
        "ternary": [-1],
        "bitwise": [-1, -4],
        "bitwise-2c": [1, 2, -8],
        "graded": [-5],
    }
    assert expanded(counts, "binary")[2].tolist() == [5]
    assert expanded(counts, "binary")[3] == -5
    spikes = expanded(np.array([1, 2], np.int32), "binary")
    assert (spikes[2].tolist(), spikes[3]) == ([1, 2], 0)  # nothing to subtract


@pytest.mark.parametrize("coding", ["bitwise-2c", "graded"])
@pytest.mark.parametrize(("count", "fits"), [(7, True), (8, False), (-8, True), (-9, False)])
def test_a_count_wider_than_its_bits_is_a_status(coding, count, fits):
    status = expanded(np.array([0, count], np.int32), coding, bits=4)[-1]
    assert status == (hot.OK if fits else hot.TOO_WIDE)


@pytest.mark.parametrize("coding", ALL)
def test_arrays_too_short_are_a_status_and_never_overrun(coding):
    counts = np.array([3, -3, 5], np.int32)
    needed = encode(counts, coding, bits=4).channel.size
    assert expanded(counts, coding, bits=4, room=needed)[-1] == hot.OK
    events = expanded(counts, coding, bits=4, room=needed - 1)
    assert (events[0].size, events[-1]) == (needed - 1, hot.NO_ROOM)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (np.nan, hot.NOT_FINITE),
        (-np.inf, hot.NOT_FINITE),
        (-(2.0**18), hot.TOO_LARGE),
        (np.nextafter(np.float32(2**18), np.float32(0)), hot.OK),
    ],
)
@pytest.mark.parametrize("at", [0, 6, 12])
def test_values_out_of_range_are_a_status(value, status, at):
    x = np.ones(13, np.float32)
    x[at] = value
    counts = np.empty(13, np.int32)
    assert hot.mean_abs_count(x, 3.0, counts)[1] == status
    assert hot.absmax16_count(x, counts)[1] == status


def test_not_finite_outranks_too_large():
    x = np.array([2.0**20, np.nan], np.float32)
    assert hot.mean_abs_count(x, 3.0, np.empty(2, np.int32))[1] == hot.NOT_FINITE


def test_a_count_of_two_to_the_31_is_a_status():
    """8,192 / 2^-18 = 2^31; the float32 below it still has a count."""
    v_th = np.float32(2.0**-18)
    counts = np.empty(2, np.int32)
    most = np.array([8192, -8192], np.float32)
    assert hot.count(most, v_th, counts) == hot.TOO_MANY
    assert hot.count(np.nextafter(most, np.float32(0)), v_th, counts) == hot.OK
    assert counts.tolist() == [2**31 - 128, -(2**31) + 128]


def test_codes_are_those_of_the_coding_table():
    codes = {name: row.code for name, row in CODINGS.items()}
    assert codes == {
        "binary": hot.BINARY,
        "ternary": expand.TERNARY,
        "bitwise": hot.BITWISE,
        "bitwise-2c": hot.TWO_COMPLEMENT,
        "graded": hot.GRADED,
    }

"""Spikes made one at a time are those of the coding table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kernels.coding import CODINGS, encode
from simulator.hot import expand

CODES = {
    "binary": expand.BINARY,
    "ternary": expand.TERNARY,
    "bitwise": expand.BITWISE,
    "graded": expand.GRADED,
}


def events(counts, code):
    """(channel, payload, times) of every spike event, by asking for the next one."""
    found = []
    for channel, count in enumerate(counts.tolist()):
        left = count
        while left != 0:
            payload, times, left = expand.next_spike(left, code)
            found.append((channel, payload, times))
            assert len(found) <= 32 * counts.size
    return found


def test_the_codes_are_those_of_the_table():
    assert {name: CODINGS[name].code for name in CODES} == CODES


@pytest.mark.parametrize("coding", CODES)
@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        st.integers(1, 20),
        elements=st.one_of(st.integers(-9, 9), st.integers(-(2**31), 2**31 - 1)),
    )
)
def test_spikes_one_at_a_time_are_the_tables_train(coding, counts):
    if coding == "binary":
        counts = np.abs(counts // 2)  # less its zero point, no count is negative
    train = encode(counts, coding)
    table = zip(train.channel.tolist(), train.payload.tolist(), train.times.tolist(), strict=True)
    assert events(counts, CODES[coding]) == list(table)


@pytest.mark.parametrize("coding", CODES)
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_parts_step_by_step_are_the_tables_train(coding, data):
    """Every part is one spike, all of them leave, and the last is known for the last."""
    large = 40 if coding in ("binary", "ternary") else 2**31 - 1  # unary: as many steps
    least = 0 if coding == "binary" else -large  # less its zero point, no count is negative
    counts = data.draw(hnp.arrays(np.int32, st.integers(1, 9), elements=st.integers(least, large)))
    train = encode(counts, coding)
    wanted = {
        (first + i, channel, payload)
        for channel, first, payload, times in zip(
            train.channel.tolist(), train.step.tolist(), train.payload.tolist(),
            train.times.tolist(), strict=True,
        )
        for i in range(times)
    }  # fmt: skip
    found, going_on = set(), []
    for step in range(train.steps + 1):
        going_on.append(False)
        for channel, count in enumerate(counts.tolist()):
            part, more = expand.in_step(count, CODES[coding], step)
            going_on[-1] |= more
            if part:
                payload, times, left = expand.next_spike(part, CODES[coding])
                assert (times, left) == (1, 0)
                found.add((step, channel, payload))
    assert found == wanted
    assert going_on == [step + 1 < train.steps for step in range(train.steps + 1)]

"""Crossbar tiles: a spike is looked up when it comes, rows are driven when the token closes."""

import json

import pytest

from hw_models.chip import chip_from_text
from tests.timing.story import AXON, UPDATE, chip, layer

CYCLE, CONVERT = 101, 23  # ps
STEP = 5 * CONVERT  # five columns to a converter: longer than driving the rows


def crossbar(**changed):
    """The story's chip with crossbar cores: 128 rows, one bit of a count at a time."""
    found = json.loads(chip(**changed.pop("chip", {})).text)
    del found["core"]["synapse_memory"]
    found["array"] = {
        "rows": 128, "columns": 64, "rows_at_once": 128, "per_core": 2, "encoding": "pairs",
        "bits_per_cell": "7 bit", "dac_bits": "1 bit", "adc_bits": "ideal", "adc_step": 1,
        "columns_per_adc": 5, "cycle_ps": f"{CYCLE} ps", "convert_ps": f"{CONVERT} ps",
        "noise": "0 %", "seed": 0, "source": "invented for tests", "grade": "assumed",
    }  # fmt: skip
    found["array"] |= changed
    return chip_from_text(json.dumps(found))


def test_a_spike_takes_its_look_up_alone():
    told = layer([(3, -2)], coding="bitwise", neurons=4).tell(on=crossbar())
    assert [r.duration for r in told.served("tile 0", "spike")] == [AXON] * 3
    assert [r.duration for r in told.served("tile 0", "marker")] == [AXON]


def test_a_burst_takes_a_look_up_for_each_of_its_spikes():
    told = layer([(5,)], coding="ternary").tell(on=crossbar())
    (burst,) = told.served("tile 0", "spike")
    assert burst.duration == 5 * AXON


@pytest.mark.parametrize(
    ("coding", "counts", "steps"),
    [
        ("bitwise", (3, -2), 2 + 1),  # bits 0 and 1 of 3, bit 1 of 2
        ("bitwise", (4, 4, 4), 1),
        ("bitwise", (5, 2), 3),
        ("graded", (3, -2), 2 + 1),
        ("ternary", (3, -2), 3 + 2),
        ("ternary", (3, 2, -1), 3 + 1),
    ],
)
def test_a_tile_closes_in_as_many_steps_as_drive_rows(coding, counts, steps):
    told = layer([counts], coding=coding, neurons=4).tell(on=crossbar())
    assert told.fired("tile 0").duration == 4 * UPDATE + steps * STEP


def test_driving_may_take_longer_than_converting():
    told = layer([(1,)], coding="bitwise").tell(on=crossbar(columns_per_adc=4))
    assert told.fired("tile 0").duration == UPDATE + CYCLE


def test_several_bits_at_a_time_are_fewer_steps():
    """15 = 1111, -9 = 1001: two bits at a time two digits each, four bits one each."""
    for bits, steps in ((1, 4 + 2), (2, 2 + 2), (4, 1 + 1)):
        told = layer([(15, -9)], coding="bitwise").tell(on=crossbar(dac_bits=f"{bits} bit"))
        assert told.fired("tile 0").duration == UPDATE + steps * STEP


def test_rows_of_one_array_that_are_not_driven_at_once_take_turns():
    """3 takes two steps, 1 one: in one array of two rows after each other, in two at once."""
    for rows, steps in ((2, 3), (1, 2)):
        told = layer([(3, 1)], coding="bitwise").tell(on=crossbar(rows=rows, rows_at_once=1))
        assert told.fired("tile 0").duration == UPDATE + steps * STEP


def test_the_sums_leave_when_the_last_step_is_over():
    told = layer([(3, -2)], coding="bitwise", neurons=2).tell(on=crossbar())
    (sums,) = told.injected("tile 0", "partial")
    last = told.served("tile 0", "marker")[-1]
    assert told.fired("tile 0").start == last.end
    assert sums.start == last.end + 2 * UPDATE + 3 * STEP


def test_a_core_that_drives_rows_does_nothing_else():
    """The second token's two spikes and marker wait until the first token's steps are over."""
    told = layer([(3,), (3,)], coding="bitwise").tell(on=crossbar(cycle_ps="1 ms"))
    first, second = (told.fired("tile 0", token) for token in (0, 1))
    assert first.duration == second.duration > 10**9
    assert second.start == first.end + 3 * AXON

"""How long a core is busy, and in what order it serves: sums from DESIGN section 5.

A spike takes axon + row + ceil(synops / lanes) * synop, a partial sum or a value its own
time each, then update per neuron and encode per channel; a core does one thing at a time.
"""

import pytest

from tests.timing.story import (
    AXON,
    ENCODE,
    LOCAL,
    PARTIAL,
    ROW,
    SYNOP,
    UPDATE,
    VALUE,
    VECTOR,
    X,
    layer,
    stage,
)


@pytest.mark.parametrize(("neurons", "waves"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_spike_takes_as_many_waves_as_two_lanes_need(neurons, waves):
    (spike,) = layer([(7,)], neurons=neurons).tell().served("tile 0", "spike")
    assert spike.duration == AXON + ROW + waves * SYNOP


def test_a_wider_core_needs_fewer_waves():
    (spike,) = layer([(7,)], neurons=5).tell(core__lanes="8").served("tile 0", "spike")
    assert spike.duration == AXON + ROW + 1 * SYNOP


def test_a_marker_takes_one_axon_look_up():
    (marker,) = layer([(7,)], neurons=5).tell().served("tile 0", "marker")
    assert marker.duration == AXON


def test_neurons_update_and_channels_encode_one_by_one():
    told = layer([(1, 2, 3)], neurons=4).tell()
    assert told.fired("encoder 0").duration == 3 * ENCODE
    assert told.fired("tile 0").duration == 4 * UPDATE
    assert told.fired("home").duration == 4 * UPDATE
    assert told.fired("host.embed").duration == told.fired("host.logits").duration == 0


def test_partial_sums_and_values_are_served_one_by_one():
    """Three sums come as 2 and 1, three values too."""
    told = layer([(1, 2, 3)], neurons=3).tell()
    assert [r.duration for r in told.served("home")] == [2 * PARTIAL, 1 * PARTIAL]
    assert [r.duration for r in told.served("norm")] == [2 * VALUE, 1 * VALUE]


def test_vector_work_takes_an_instruction_time_each():
    story = stage()
    work = {"vec_add": 3, "vec_exp": 2, "state_read": 64}  # bytes of state are no instructions
    story.task("busy", (1, 0, 0), "norm", work=work)
    story.send("norm", "value", "busy")
    assert story.tell().fired("busy").duration == 5 * VECTOR


def test_spikes_that_come_faster_than_they_are_served_queue_in_order():
    """100 neurons: a spike is served longer than the 155 ps at which they come."""
    told = layer([(1, 2, 3)], neurons=100).tell()
    service = AXON + ROW + 50 * SYNOP
    assert service > 5 * X.flit
    first = told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    assert [(r.start, r.duration) for r in told.served("tile 0", "spike")] == [
        (first, service),
        (first + service, service),
        (first + 2 * service, service),
    ]
    (marker,) = told.served("tile 0", "marker")
    assert marker.start == first + 3 * service
    fired = told.fired("tile 0")
    assert (fired.start, fired.duration) == (first + 3 * service + AXON, 100 * UPDATE)


def test_a_core_serves_sources_in_the_order_they_arrive():
    """400 neurons: while the near source's spike is in service its marker and then the far
    source's spike come, from a lower core; the marker is served first."""
    told = layer([(1, 2)], encoders=[(0, 0, 0), (1, 0, 1)], norm=(1, 0, 1), neurons=400).tell()
    service = AXON + ROW + 200 * SYNOP
    # the near encoder shares its injection link with the norm, whose value leaves first
    near = told.fired("norm").end + 3 * LOCAL.flit + LOCAL.hop + 2 * LOCAL.flit
    far = told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    assert near + 3 * LOCAL.flit < far < near + service
    assert [(r.start, r.message) for r in told.served("tile 0")] == [
        (near, "spike"),
        (near + service, "marker"),
        (near + service + AXON, "spike"),
        (near + service + AXON + service, "marker"),
    ]


def test_a_tile_fires_when_the_last_marker_is_in():
    """Two sources; the tile updates once, behind the later marker."""
    told = layer([(1, 2)], encoders=[(0, 0, 0), (1, 0, 1)], norm=(1, 0, 1), neurons=3).tell()
    far = told.fired("encoder 0").end
    marker = far + LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit + 6 * X.flit
    assert told.fired("tile 0").start == marker + AXON


def test_tasks_of_one_core_take_turns():
    """Two tasks of core (1, 0): both get the value at once, the second waits for the first."""
    story = stage()
    story.task("one", (1, 0, 0), "norm", work={"vec_add": 10})
    story.task("two", (1, 0, 0), "norm", work={"vec_add": 1})
    story.send("norm", "value", "one", "two")
    told = story.tell()
    (one,), (two,) = told.served("one"), told.served("two")
    arrival = told.fired("norm").end + LOCAL.hop + 2 * LOCAL.flit + X.hop + 5 * X.flit
    assert (one.start, told.fired("one").start) == (arrival, arrival + VALUE)
    free = arrival + VALUE + 10 * VECTOR
    assert (two.start, told.fired("two").end) == (free, free + VALUE + VECTOR)


def test_two_cores_of_a_router_work_side_by_side():
    story = stage()
    story.task("one", (1, 0, 0), "norm", work={"vec_add": 10})
    story.task("two", (1, 0, 1), "norm", work={"vec_add": 1})
    story.send("norm", "value", "one", "two")
    told = story.tell()
    assert told.fired("one").start == told.fired("two").start
    assert told.fired("one").end - told.fired("two").end == 9 * VECTOR


def test_messages_of_one_source_keep_their_order_within_a_picosecond():
    """Sums for the tile's own core take no way: both arrive at once, the first sent goes first."""
    told = layer([(3,)], neurons=3, tiles=[(0, 1, 0)], home=(0, 1, 0)).tell()
    end = told.fired("tile 0").end
    assert [(r.start, r.duration) for r in told.served("home")] == [
        (end, 2 * PARTIAL),
        (end + 2 * PARTIAL, 1 * PARTIAL),
    ]


@pytest.mark.parametrize(("buffered", "rows"), [("false", (1, 1, 1)), ("true", (1, 0, 1))])
def test_a_row_buffer_fetches_a_row_once_per_active_channel(buffered, rows):
    """Counts 3 and 4 are spikes 1, 2 of channel 0 and 4 of channel 1."""
    told = layer([(3, 4)], coding="bitwise").tell(abilities__row_buffer=buffered)
    found = [r.duration for r in told.served("tile 0", "spike")]
    assert found == [AXON + fetched * ROW + SYNOP for fetched in rows]


def test_a_row_buffer_serves_a_whole_burst_from_one_fetch():
    told = layer([(5,)], coding="ternary").tell(abilities__row_buffer="true")
    (burst,) = told.served("tile 0", "spike")
    assert burst.duration == 5 * (AXON + SYNOP) + 1 * ROW


@pytest.mark.parametrize("slots", ["1", "2"])
def test_every_token_fetches_its_rows_anew_whatever_the_token_slots(slots):
    """Two tokens drive the same channel one after the other: two spikes each."""
    story = layer([(3,), (3,)], coding="bitwise")
    told = story.tell(abilities__row_buffer="true", core__token_slots=slots)
    found = [r.duration for r in told.served("tile 0", "spike")]
    assert found == [AXON + ROW + SYNOP, AXON + SYNOP] * 2


def test_a_row_of_another_source_in_between_is_fetched_again():
    """Both encoders send two spikes; they meet on the link east and arrive in turns."""
    story = layer([(3, 3)], coding="bitwise", encoders=[(0, 1, 0), (0, 1, 1)], tiles=[(1, 1, 0)])
    told = story.tell(abilities__row_buffer="true")
    found = [r.duration for r in told.served("tile 0", "spike")]
    assert found == [AXON + ROW + SYNOP] * 4

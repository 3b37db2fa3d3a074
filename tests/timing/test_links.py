"""When a message gets where it goes: every sum below is worked out from DESIGN section 5.

A link starts a message of f flits at max(arrival, free), is free again f * flit later and
hands the whole message on at start + hop + (f - 1) * flit. Flits per message: story.py.
"""

import pytest

from tests.timing.story import (
    AXON,
    CHIP_X,
    CHIP_Y,
    ENCODE,
    HOST,
    LOCAL,
    PARTIAL,
    ROW,
    SYNOP,
    UPDATE,
    VALUE,
    X,
    Y,
    actors,
    layer,
    stage,
)


def test_one_token_from_host_to_host():
    """Two cores beside router (0, 0), the tile one hop east, the home one hop south."""
    told = layer([(3,)]).tell()
    norm = HOST.hop + VALUE  # one flit, one value
    encoder = norm + LOCAL.hop + 2 * LOCAL.flit + VALUE + ENCODE
    marker = encoder + 3 * LOCAL.flit  # injected behind the spike's three flits
    # the spike holds the link east from the moment it stood at the router, for five flits
    east = encoder + LOCAL.hop + 2 * LOCAL.flit + 5 * X.flit
    at_tile = max(marker + LOCAL.hop + 2 * LOCAL.flit, east) + X.hop + 5 * X.flit
    tile = at_tile + AXON + UPDATE
    # back west, then south
    at_home = tile + LOCAL.hop + 3 * LOCAL.flit + X.hop + 6 * X.flit + Y.hop + 4 * Y.flit
    home = at_home + PARTIAL + UPDATE
    at_host = home + LOCAL.hop + 2 * LOCAL.flit + Y.hop + 3 * Y.flit + HOST.hop
    assert told.fired("norm").end == norm == 82
    assert told.fired("encoder 0").end == encoder == 185
    assert told.fired("tile 0").end == tile == 622
    assert told.fired("home").end == home == 1170
    assert told.logits_ps == {0: at_host} == {0: 1482}


def test_a_core_beside_the_source_is_one_injection_away():
    told = layer([(3,)], tiles=[(0, 0, 1)]).tell()
    (spike,) = told.served("tile 0", "spike")
    assert spike.start == told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit


def test_a_spike_for_its_own_core_takes_the_injection_link_too():
    told = layer([(3,)], tiles=[(0, 0, 0)]).tell()
    (spike,) = told.served("tile 0", "spike")
    assert spike.start == told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit


def test_what_a_core_tells_itself_takes_no_time():
    """A value for the same core needs neither link nor service; a partial sum is still added."""
    told = layer([(3,)], norm=(0, 0, 0), tiles=[(0, 1, 0)]).tell()
    (value,) = told.served("encoder 0", "value")
    assert (value.start, value.duration) == (told.fired("norm").end, 0)
    assert told.fired("encoder 0").start == told.fired("norm").end
    (partial,) = told.served("home", "partial")
    assert (partial.start, partial.duration) == (told.fired("tile 0").end, PARTIAL)


def test_every_hop_adds_its_own_kind_of_link():
    """Two hops east, one hop south: first x, then y."""
    told = layer([(3,)], tiles=[(2, 1, 0)]).tell()
    (spike,) = told.served("tile 0", "spike")
    way = LOCAL.hop + 2 * LOCAL.flit
    way += 2 * (X.hop + 4 * X.flit)
    way += Y.hop + 2 * Y.flit
    assert spike.start == told.fired("encoder 0").end + way == 185 + 522


def test_west_and_north_cost_what_east_and_south_do():
    told = layer([(3,)], encoders=[(2, 1, 0)], tiles=[(1, 0, 0)]).tell()
    (spike,) = told.served("tile 0", "spike")
    way = LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit + Y.hop + 2 * Y.flit
    assert spike.start == told.fired("encoder 0").end + way


def test_links_between_chips_have_constants_and_flits_of_their_own():
    """From (2, 1) to the gateway (0, 0), over both borders to the gateway (3, 2): a spike is two
    flits eastwards, one southwards."""
    told = layer([(3,)], encoders=[(2, 1, 0)], tiles=[(3, 2, 0)]).tell()
    (spike,) = told.served("tile 0", "spike")
    way = LOCAL.hop + 2 * LOCAL.flit
    way += 2 * (X.hop + 4 * X.flit) + Y.hop + 2 * Y.flit
    way += CHIP_X.hop + 1 * CHIP_X.flit
    way += CHIP_Y.hop + 0 * CHIP_Y.flit
    assert spike.start == told.fired("encoder 0").end + way


def test_a_core_injects_in_series_and_a_link_keeps_what_it_is_still_busy_with():
    """Three spikes and a marker leave back to back; the slower link east spaces them out."""
    told = layer([(1, 2, 3)]).tell()
    first = told.fired("encoder 0").end
    assert [r.start - first for r in told.injected("encoder 0")] == [
        0,
        3 * LOCAL.flit,
        6 * LOCAL.flit,
        9 * LOCAL.flit,
    ]
    arrival = first + LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    spacing = 5 * X.flit  # more than the 3 * LOCAL.flit at which they come
    assert [r.start for r in told.served("tile 0", "spike")] == [
        arrival,
        arrival + spacing,
        arrival + 2 * spacing,
    ]
    (marker,) = told.served("tile 0", "marker")  # one flit longer than a spike
    assert marker.start == arrival + 3 * spacing + X.flit


def test_a_faster_link_behind_a_slow_one_does_not_wait():
    """Two spikes over x (155 ps each), then y (123 ps each): the gap stays as x made it."""
    told = layer([(1, 2)], tiles=[(1, 1, 0)]).tell()
    one, two = told.served("tile 0", "spike")
    assert two.start - one.start == 5 * X.flit


def test_a_contended_link_serves_first_come_first_served():
    """Encoder 0 at (0, 0), encoder 1 at (1, 0), beside the norm: both use the link (1, 0) east.

    Encoder 1 begins earlier. Four spikes and a marker of its own are already waiting at the
    link, or on it, when encoder 0's first spike arrives: that one goes after all of them.
    """
    story = layer(
        [tuple(range(1, 9))], norm=(1, 0, 1), encoders=[(0, 0, 0), (1, 0, 0)], tiles=[(2, 0, 0)]
    )
    told = story.tell()
    near, far = told.fired("encoder 1").end, told.fired("encoder 0").end
    assert far - near == X.hop + 5 * X.flit  # the norm's value, six flits, took one hop more
    free = near + LOCAL.hop + 2 * LOCAL.flit  # the first spike at the link
    free += 4 * 5 * X.flit + 6 * X.flit  # four spikes, one marker
    arrives = far + LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    marker_came = near + 4 * 3 * LOCAL.flit + LOCAL.hop + 2 * LOCAL.flit
    assert marker_came < arrives < free - 6 * X.flit
    assert told.served("tile 0", "spike")[4].start == free + X.hop + 4 * X.flit


@pytest.mark.parametrize("names", [("low", "high"), ("high", "low")])
def test_at_the_same_picosecond_the_lower_core_goes_first(names):
    """Two cores of router (0, 1) send one value each at once; in whatever order they are listed,
    and although the lower one has sent a message (to itself, at no cost) before."""
    story = stage()
    where = {"low": (0, 1, 0), "high": (0, 1, 1)}
    actors(story, **{name: where[name] for name in names})
    actors(story, of_low=(1, 1, 0), of_high=(1, 1, 1), self_of_low=where["low"])
    story.send("norm", "value", *names)
    story.send("low", "value", "self_of_low")
    for name in names:
        story.send(name, "value", f"of_{name}")
    told = story.tell()
    start = told.fired("low").end
    assert told.fired("high").end == start
    low, high = told.served("of_low")[0], told.served("of_high")[0]
    assert low.start == start + LOCAL.hop + 2 * LOCAL.flit + X.hop + 5 * X.flit
    assert high.start == low.start + 6 * X.flit


def test_a_fork_costs_nothing():
    """Two values from (0, 0) to the routers (1, 0), (2, 0) and (1, 1): a tree that forks once."""
    story = stage()
    actors(story, source=(0, 0, 0), here=(1, 0, 0), east=(2, 0, 0), south=(1, 1, 0))
    story.send("norm", "value", "source")
    story.send("source", "value", "here", "east", "south", n=2)
    told = story.tell()
    (sent,) = told.injected("source")
    assert sent.count == 3  # one message, three deliveries
    fork = sent.start + LOCAL.hop + 4 * LOCAL.flit + X.hop + 9 * X.flit
    assert told.served("here")[0].start == fork
    assert told.served("east")[0].start == fork + X.hop + 9 * X.flit
    assert told.served("south")[0].start == fork + Y.hop + 6 * Y.flit


def test_outputs_of_a_fork_do_not_wait_for_each_other():
    """The link east of the fork is busy with two values of the lower core; north goes at once."""
    story = stage()
    actors(story, talker=(0, 1, 0), source=(0, 1, 1), listener=(1, 1, 1))
    actors(story, here=(0, 1, 0), north=(0, 0, 0), east=(1, 1, 0))
    story.send("norm", "value", "source", "talker")
    story.send("source", "value", "here", "east", "north", n=2)
    story.send("talker", "value", "listener", n=2)
    told = story.tell()
    assert told.fired("talker").end == told.fired("source").end
    fork = told.fired("source").end + LOCAL.hop + 4 * LOCAL.flit
    assert told.served("listener")[0].start == fork + X.hop + 9 * X.flit
    assert told.served("east")[0].start == fork + 10 * X.flit + X.hop + 9 * X.flit
    assert told.served("north")[0].start == fork + Y.hop + 6 * Y.flit
    assert told.served("here")[0].start == fork


def test_a_source_sends_one_message_after_another_to_different_trees():
    """One value west, then two south: the second waits for the injection link only."""
    story = stage()
    actors(story, source=(1, 0, 0), west=(0, 0, 0), south=(1, 1, 0))
    story.send("norm", "value", "source")
    story.send("source", "value", "west")
    story.send("source", "value", "south", n=2)
    told = story.tell()
    start = told.fired("source").end
    assert [(r.start - start, r.duration) for r in told.injected("source")] == [
        (0, 3 * LOCAL.flit),
        (3 * LOCAL.flit, 5 * LOCAL.flit),
    ]
    south = start + (3 + 4) * LOCAL.flit + LOCAL.hop + Y.hop + 6 * Y.flit
    assert told.served("south")[0].start == south


def test_the_host_has_a_link_of_its_own_in_each_direction():
    """Five values: messages of 2, 2 and 1 values, that is 2, 2 and 1 flits."""
    told = layer([(1, 2, 3, 4, 5)], neurons=5, home=(0, 0, 0), tiles=[(0, 0, 1)]).tell()
    assert [(r.start, r.duration) for r in told.injected("host.embed")] == [
        (0, 2 * HOST.flit),
        (2 * HOST.flit, 2 * HOST.flit),
        (4 * HOST.flit, 1 * HOST.flit),
    ]
    assert [r.start for r in told.served("norm")] == [
        HOST.hop + 1 * HOST.flit,
        2 * HOST.flit + HOST.hop + 1 * HOST.flit,
        4 * HOST.flit + HOST.hop,
    ]
    home = told.fired("home").end
    at_router = home + LOCAL.hop + 4 * LOCAL.flit  # 5, 5 and 3 flits: slower than two of the host's
    assert 2 * HOST.flit > 5 * LOCAL.flit
    assert [r.start for r in told.served("host.logits")] == [
        at_router + HOST.hop + 1 * HOST.flit,
        at_router + 2 * HOST.flit + HOST.hop + 1 * HOST.flit,
        at_router + 4 * HOST.flit + HOST.hop,
    ]


def test_the_next_token_waits_for_the_host_link():
    """Token 1 starts at 100 ps, while token 0's two flits still leave the host."""
    told = layer([(1, 2), (2, 1)]).tell(starts=[0, 100])
    zero, one = told.injected("host.embed")
    assert (zero.start, one.start) == (0, 2 * HOST.flit)
    assert told.served("norm", token=1)[0].start == 2 * HOST.flit + HOST.hop + HOST.flit


@pytest.mark.parametrize("count", [3, -3])
def test_a_unary_burst_holds_links_and_core_once_per_spike(count):
    """One event that stands for three spikes: 9 flits local, 15 flits east, served three times."""
    told = layer([(count,)], coding="ternary").tell()
    burst, marker = told.injected("encoder 0")
    assert (burst.duration, burst.count) == (9 * LOCAL.flit, 3)
    assert marker.start == burst.start + 9 * LOCAL.flit
    at_link = burst.start + LOCAL.hop + 8 * LOCAL.flit
    (spikes,) = told.served("tile 0", "spike")
    assert spikes.start == at_link + X.hop + 14 * X.flit
    assert (spikes.duration, spikes.count) == (3 * (AXON + ROW + SYNOP), 3)
    (end,) = told.served("tile 0", "marker")
    assert end.start == at_link + 15 * X.flit + X.hop + 5 * X.flit


def test_a_bitwise_count_leaves_as_one_spike_per_set_bit_back_to_back():
    """-6 and 1: two spikes of channel 0, one of channel 1."""
    told = layer([(-6, 1)], coding="bitwise").tell()
    spikes = told.injected("encoder 0", "spike")
    start = told.fired("encoder 0").end
    assert [r.start for r in spikes] == [start + i * 3 * LOCAL.flit for i in range(3)]


def test_a_silent_token_sends_its_marker_alone():
    told = layer([(0, 0)]).tell()
    (marker,) = told.injected("encoder 0")
    assert (marker.message, marker.start) == ("marker", told.fired("encoder 0").end)
    (served,) = told.served("tile 0")
    assert served.start == marker.start + LOCAL.hop + 2 * LOCAL.flit + X.hop + 5 * X.flit


def test_the_marker_comes_behind_its_spikes_on_every_branch():
    """Three spikes to (1, 0) and (0, 1): six flits of marker follow on x, four on y."""
    told = layer([(1, 2, 3)], tiles=[(1, 0, 0), (0, 1, 0)], home=(0, 0, 1)).tell()
    router = told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit
    (east,), (south,) = told.served("tile 0", "marker"), told.served("tile 1", "marker")
    assert east.start == router + 3 * 5 * X.flit + X.hop + 5 * X.flit
    assert south.start == router + 3 * 3 * Y.flit + Y.hop + 3 * Y.flit

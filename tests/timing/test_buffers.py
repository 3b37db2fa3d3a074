"""Back-pressure in picoseconds: when a message finds room, every sum worked out by hand.

A message of f flits takes f flits of the buffer at a link's end from its start there until its
last copy has gone over its own link (f * flit after the copy's start), or, at the end of its tree,
until it stands there. One value is 3 flits of a core's link, 6 of x, 4 of y (story.py).
"""

import pytest

from hw_models.errors import DoesNotFit
from tests.timing.story import LOCAL, VALUE, X, Y, actors, stage

ON_X, ON_Y = X.hop + 5 * X.flit, Y.hop + 3 * Y.flit  # from start until it stands behind the link
FROM_CORE = LOCAL.hop + 2 * LOCAL.flit
EAST = {"b": (2, 0, 0)}  # two hops from a, which sits beside router (0, 0)


def sent(n=2, to="b", extra=(), **places):
    """The norm starts `a`, which sends n messages of one value to `to` (and then to `extra`)."""
    story = stage()
    actors(story, a=(0, 0, 0), **places)
    story.send("norm", "value", "a")
    for _ in range(n):
        story.send("a", "value", *to.split())
    for other in extra:
        story.send("a", "value", other)
    return story


def test_a_message_waits_for_room_behind_the_link():
    told = sent(**EAST).tell(link__x__buffer_flits="6")
    first = told.fired("a").end + FROM_CORE  # at router (0, 0)
    left = first + ON_X + 6 * X.flit  # gone from the buffer at (1, 0), over the second link
    assert [r.start for r in told.served("b")] == [first + 2 * ON_X, left + 2 * ON_X]
    assert left + 2 * ON_X == first + 762


def test_with_room_for_two_only_the_link_itself_is_waited_for():
    told = sent(**EAST).tell(link__x__buffer_flits="12")
    first = told.fired("a").end + FROM_CORE
    apart = [r.start - first - 2 * ON_X for r in told.served("b")]
    assert apart == [0, 6 * X.flit]
    assert sorted(told.rows) == sorted(sent(**EAST).tell().rows)


def test_room_for_one_and_a_half_is_room_for_one():
    assert (
        sent(**EAST).tell(link__x__buffer_flits="11").rows
        == sent(**EAST).tell(link__x__buffer_flits="6").rows
    )


@pytest.mark.parametrize(("slow", "last"), [("x", 6 * X.flit), ("y", 4 * 100)])
def test_a_fork_clears_its_room_when_its_last_copy_has_gone(slow, last):
    """At (1, 0) one copy goes on east, one south, each as soon as it can."""
    story = sent(to="b c", c=(1, 1, 0), **EAST)
    flit = 100 if slow == "y" else Y.flit
    told = story.tell(link__x__buffer_flits="6", link__y__flit_ps=f"{flit} ps")
    first = told.fired("a").end + FROM_CORE + ON_X  # at the fork
    again = first + last + ON_X
    assert [r.start for r in told.served("c")] == [t + Y.hop + 3 * flit for t in (first, again)]
    assert [r.start for r in told.served("b")] == [first + ON_X, again + ON_X]


def test_a_copy_that_waits_holds_up_none_that_goes_elsewhere():
    """At (1, 0), where `d` has put nine messages in line for the link east, the first of `a` waits
    behind them; the second one, in the same buffer, turns south at once."""
    story = stage()
    actors(story, a=(0, 0, 0), c=(1, 1, 0), d=(1, 0, 0), **EAST)
    story.send("norm", "value", "d")
    for to in "a" + 9 * "b":
        story.send("d", "value", to)
    for to in "bc":
        story.send("a", "value", to)
    told = story.tell(link__x__buffer_flits="12")
    (turned,) = told.served("c")
    assert turned.start == told.fired("a").end + FROM_CORE + 6 * X.flit + ON_X + ON_Y
    starts = [r.start for r in told.served("b")]
    first = told.fired("d").end + 3 * LOCAL.flit + FROM_CORE  # behind the value for a
    assert starts == [first + 6 * i * X.flit + ON_X for i in range(10)]
    assert sum(start > turned.start for start in starts) > 3


def test_a_source_goes_on_and_its_messages_wait_where_it_injects():
    """Room for one behind the core's own link: it is cleared when the message has gone east."""
    story = sent(n=3, **EAST)
    actors(story, later=(0, 0, 0))
    story.send("norm", "value", "later")
    told = story.tell(link__local__buffer_flits="3")
    fired = told.fired("a")
    ready = [fired.end + i * (FROM_CORE + 6 * X.flit) for i in range(3)]
    assert [r.start for r in told.injected("a")] == ready
    assert told.fired("later").start < ready[1]


def test_cores_take_in_without_an_end():
    """Nine values at once for a core that takes 11 ps each, over buffers of one message."""
    told = sent(n=9, b=(1, 0, 0)).tell(link__x__buffer_flits="6", link__x__flit_ps="1 ps")
    came = [told.fired("a").end + FROM_CORE + i * 3 * LOCAL.flit + X.hop + 5 for i in range(9)]
    assert [r.start for r in told.served("b")] == came  # each taken in as it comes
    assert 3 * LOCAL.flit > X.hop + 5 > VALUE


def test_a_buffer_too_small_for_a_message_is_told_with_kind_and_bits():
    with pytest.raises(DoesNotFit, match="buffers of x links hold 5 flits") as caught:
        sent(**EAST).tell(link__x__buffer_flits="5")
    assert "a message of 42 bits has 6" in str(caught.value)
    assert caught.value.fix.startswith("--set link.x.buffer_flits=6 ")

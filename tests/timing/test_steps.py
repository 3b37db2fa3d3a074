"""Barrier sync: when a step begins and ends, and what happens in it (docs/simulation.md).

A step lasts until the last link and core is free, then the barrier falls. Sums below start
at a step's own beginning; the flits of messages stand in story.py. The home's neurons update
at the start of every step but the first.
"""

from itertools import accumulate

import pytest

from tests.timing.story import (
    AXON,
    ENCODE,
    HOST,
    LOCAL,
    PARTIAL,
    ROW,
    SYNOP,
    UPDATE,
    VALUE,
    VECTOR,
    X,
    Y,
    layer,
    stage,
)

BARRIER = 997
SPIKE = AXON + ROW + SYNOP

# how long the steps of one token take, from host to host, when the tile is one hop east of the
# encoder and the home one hop south: sending takes turns with taking in
EMBED = HOST.hop  # one flit; the link itself is free before
TAKEN_IN = UPDATE  # the home's update; a value or marker takes less
NORM = LOCAL.hop + 2 * LOCAL.flit
HOME = UPDATE + LOCAL.hop + 2 * LOCAL.flit + Y.hop + 3 * Y.flit + HOST.hop
SUM = UPDATE + LOCAL.hop + 3 * LOCAL.flit + X.hop + 6 * X.flit + Y.hop + 4 * Y.flit


def tell(story, barrier=BARRIER, **changed):
    return story.tell(sync="barrier", timing__barrier_ps=f"{barrier} ps", **changed)


def starts(*lengths, barrier=BARRIER):
    """When the steps after those of these lengths begin."""
    return list(accumulate(length + barrier for length in lengths))


def test_one_token_from_host_to_host():
    """Ten steps: embedding, its value; V_th, its value; spike and marker; the sum; the logits."""
    told = tell(layer([(3,)]))
    spike = ENCODE + LOCAL.hop + 2 * LOCAL.flit  # at the router
    marker = spike + 5 * X.flit + X.hop + 5 * X.flit  # behind the spike on the link east
    lengths = [EMBED, TAKEN_IN, NORM, TAKEN_IN, marker]
    lengths += [TAKEN_IN, SUM, UPDATE + PARTIAL, HOME, TAKEN_IN]
    two, three, _, five, six, seven, eight, nine, _, eleven = starts(*lengths)
    assert told.served("norm")[0].start == two == 71 + 997
    assert told.fired("norm").start == three == two + 13 + 997
    assert told.fired("encoder 0").start == five
    assert [(r.start, r.message) for r in told.served("tile 0")] == [
        (six, "spike"),
        (six + SPIKE, "marker"),
    ]
    fired = told.fired("tile 0")
    assert (fired.start, fired.duration) == (seven, UPDATE)
    (partial,) = told.served("home")
    assert (partial.start, partial.duration) == (eight + UPDATE, PARTIAL)
    # the update of this step was the home's: it has no further work of its own
    assert (told.fired("home").start, told.fired("home").duration) == (nine + UPDATE, 0)
    assert told.logits_ps == {0: eleven}
    assert told.steps == 10


@pytest.mark.parametrize("barrier", [1, 1000, 10**9])
def test_every_step_ends_with_one_barrier(barrier):
    told, longer = tell(layer([(3,)]), barrier), tell(layer([(3,)]), barrier + 1)
    assert told.steps == longer.steps == 10
    assert longer.logits_ps[0] - told.logits_ps[0] == 10
    work = EMBED + NORM + HOME + SUM + 4 * TAKEN_IN + UPDATE + PARTIAL
    work += ENCODE + LOCAL.hop + 2 * LOCAL.flit + 5 * X.flit + X.hop + 5 * X.flit
    assert told.logits_ps[0] == work + 10 * barrier


def test_dataflow_has_no_steps():
    assert layer([(3,)]).tell().steps == 0


@pytest.mark.parametrize("count", [3, -3])
def test_a_burst_of_three_takes_three_steps_one_spike_each(count):
    told = tell(layer([(count,)], coding="ternary"))
    first = told.fired("encoder 0").end
    alone = LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    # then the tile takes each in while the next travels, which takes longer
    two, three = starts(first - told.fired("encoder 0").start + alone, alone)
    sent = [first, told.fired("encoder 0").start + two, told.fired("encoder 0").start + three]
    spikes = told.injected("encoder 0", "spike")
    assert [(r.start, r.count) for r in spikes] == [(ps, 1) for ps in sent]
    (marker,) = told.injected("encoder 0", "marker")
    assert marker.start == sent[2] + 3 * LOCAL.flit
    behind = LOCAL.hop + 2 * LOCAL.flit + 5 * X.flit + X.hop + 5 * X.flit
    four = sent[2] + behind + BARRIER
    assert [(r.start, r.duration, r.message) for r in told.served("tile 0")] == [
        (sent[1], SPIKE, "spike"),
        (sent[2], SPIKE, "spike"),
        (four, SPIKE, "spike"),
        (four + SPIKE, AXON, "marker"),
    ]
    assert told.steps == 10 + 2


def test_bit_b_leaves_in_step_b_after_the_first():
    """5 and 1: bits 0 of both channels, a step without a spike, bit 2 and the marker."""
    told = tell(layer([(5, 1)], coding="bitwise"))
    begin, first = told.fired("encoder 0").start, told.fired("encoder 0").end
    way = LOCAL.hop + 2 * LOCAL.flit + X.hop + 4 * X.flit
    # two spikes one behind the other; then nothing moves but the tile, which serves both
    length = [2 * ENCODE + way + 5 * X.flit, 2 * SPIKE]
    two, three = starts(*length)
    assert [r.start for r in told.injected("encoder 0")] == [
        first,
        first + 3 * LOCAL.flit,
        begin + three,
        begin + three + 3 * LOCAL.flit,
    ]
    assert [r.start for r in told.served("tile 0", "spike")][:2] == [
        begin + two,
        begin + two + SPIKE,
    ]
    assert told.steps == 10 + 2


def test_a_silent_token_sends_its_marker_in_the_first_step():
    told = tell(layer([(0, 0)], coding="ternary"))
    (marker,) = told.injected("encoder 0")
    assert (marker.message, marker.start) == ("marker", told.fired("encoder 0").end)
    assert told.steps == 10


def test_markers_of_two_trees_leave_with_their_own_last_spike():
    """Encoder 0 needs one step, encoder 1 four: the tile fires after the later marker."""
    two = [(0, 0, 0), (1, 0, 1)]
    told = tell(layer([(1, 4)], encoders=two, norm=(1, 0, 1), coding="ternary"))
    (early,), (late,) = (told.injected(f"encoder {i}", "marker") for i in range(2))
    spikes = told.injected("encoder 1", "spike")
    assert early.start < spikes[1].start < spikes[3].start < late.start
    markers = [r for r in told.served("tile 0") if r.message == "marker"]
    assert markers[0].start < spikes[2].start
    assert markers[1].start > late.start
    assert told.fired("tile 0").start > markers[1].end
    assert told.steps == 10 + 3


def test_a_step_ends_with_its_slowest_link():
    """Flits that hold a link far longer than the hop: the last message arrives before its link
    east is free, and the barrier waits for the link."""
    told = tell(layer([(3,)]), link__x__hop_ps="1 ps", link__x__flit_ps="500 ps")
    router = told.fired("encoder 0").end + LOCAL.hop + 2 * LOCAL.flit
    arrived, free = router + 5 * 500 + 1 + 5 * 500, router + 5 * 500 + 6 * 500
    assert arrived < free
    assert told.served("tile 0")[0].start == free + BARRIER


def test_a_step_ends_with_its_slowest_core():
    """100 neurons: the tile takes its spikes and marker in longer than anything else lasts."""
    told = tell(layer([(1, 2, 3)], neurons=100, home=(2, 1, 0)), timing__update_ps="1 ps")
    served = told.served("tile 0")
    assert [r.duration for r in served] == 3 * [AXON + ROW + 50 * SYNOP] + [AXON]
    assert told.fired("tile 0").start == served[-1].end + BARRIER


def test_neurons_of_every_core_update_in_every_step():
    """A thousand ps per neuron, whatever else happens: no step but the first is shorter."""
    told = tell(layer([(3,)]), timing__update_ps="1 us")
    assert told.served("norm")[0].start == EMBED + BARRIER
    assert told.fired("norm").start == EMBED + BARRIER + 10**6 + BARRIER
    # what is sent while the home updates, or taken in, is over before; but the sum leaves after
    # the tile's own update, the logits after the home's, and the sum is added after it
    after = (SUM - UPDATE) + PARTIAL + (HOME - UPDATE)
    assert told.logits_ps[0] == EMBED + 9 * 10**6 + after + 10 * BARRIER


def test_a_core_updates_then_takes_turns_then_takes_in():
    """The norm tells two tasks on the home's core of token 1 while they wait for their turn."""
    story = layer([(1, 2), (2, 1)])
    for name in ("one", "two"):
        story.task(name, (0, 1, 0), "norm", work={"vec_add": 10})
    story.send("norm", "value", "one", "two")
    told = tell(story)
    begin = told.fired("encoder 0", token=0).start  # on a core without neurons
    one, two = told.fired("one", token=0), told.fired("two", token=0)
    assert (one.start, two.start) == (begin + UPDATE, begin + UPDATE + 10 * VECTOR)
    (first,), (second,) = told.served("one", token=1), told.served("two", token=1)
    assert (first.start, second.start) == (two.end, two.end + VALUE)


def test_what_a_core_tells_itself_takes_two_steps_too():
    """Neither link nor service; but the value is taken in one step later and used two later."""
    told = tell(layer([(3,)], norm=(0, 0, 0)))
    (value,) = told.served("encoder 0", "value")
    norm = told.fired("norm").start
    # nothing but the home's update takes time in either step
    assert (value.start, value.duration) == (norm + UPDATE + BARRIER, 0)
    assert told.fired("encoder 0").start == value.start + UPDATE + BARRIER
    assert told.steps == 10


def test_the_host_sends_one_embedding_per_step():
    told = tell(layer([(1, 2), (2, 1), (1, 2)]))
    sent = [told.injected("host.embed", token=token)[0].start for token in range(3)]
    assert sent[0] == 0
    assert sent[1] == HOST.hop + HOST.flit + BARRIER  # two flits
    assert sent[1] == told.served("norm", token=0)[0].start
    assert sent[2] == told.served("norm", token=1)[0].start == told.fired("norm", token=0).start


def test_an_encoder_ends_its_trains_before_it_turns_to_the_next_token():
    """Three steps for token 0, two for token 1."""
    told = tell(layer([(3, 1), (-2, 2)], coding="ternary"))
    spikes = told.injected("encoder 0", "spike")
    assert [r.token for r in spikes] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len({r.start for r in told.injected("encoder 0", "marker")}) == 2
    (marker,) = told.injected("encoder 0", "marker", token=0)
    second = told.fired("encoder 0", token=1)
    (last,) = (r for r in told.served("tile 0", "marker") if r.token == 0)
    assert marker.start < second.start
    # the next step: the tile takes the last spike of token 0 and its marker in
    assert second.start == last.start - SPIKE


def test_a_message_without_a_free_set_waits_for_the_release():
    """One set: token 1's spikes come while token 0 is open, and are served in the step in which
    the tile has closed it."""
    told = tell(layer([(3, 1), (-2, 2)], coding="ternary"), core__token_slots="1")
    release = told.fired("tile 0", token=0).end
    waited = told.served("tile 0", token=1)
    assert told.injected("encoder 0", "spike", token=1)[0].start < release
    assert waited[0].start == release


def test_tokens_follow_each_other_through_the_stages():
    """Prefill: steps are shared, so two tokens take few more of them than one."""
    one, two = tell(layer([(1, 2)])), tell(layer([(1, 2), (2, 1)]))
    assert two.fired("norm", token=1).start < two.fired("tile 0", token=0).start
    assert (one.steps, two.steps) == (10, 11)


def test_decode_repeats_a_token_picosecond_for_picosecond():
    """The next embedding leaves in the step in which the logits have come."""
    one = tell(layer([(1, 2)]))
    end = one.logits_ps[0]
    two = tell(layer([(1, 2), (1, 2)]), decode=True)
    assert two.steps == 20
    assert two.logits_ps == {0: end, 1: 2 * end}
    second = [r._replace(start=r.start - end, token=0) for r in two.rows if r.token == 1]
    assert second == list(one.rows)


def test_waiting_before_a_start_takes_no_steps():
    late, early = tell(layer([(3,)]), starts=[12_345]), tell(layer([(3,)]))
    assert late.steps == early.steps == 10
    assert late.logits_ps[0] == early.logits_ps[0] + 12_345


def test_a_core_of_its_own_needs_the_same_steps():
    """All on one core: the same tasks, the same ten steps."""
    assert tell(stage()).steps == 10

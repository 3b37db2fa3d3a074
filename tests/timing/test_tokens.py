"""Several tokens under way: accumulator sets, their release, and the stripes of a KV ring."""

from compiler.tasks import Ring
from tests.timing.story import AXON, HOST, LOCAL, ROW, SYNOP, VALUE, VECTOR, X, layer, stage

SPIKE = AXON + ROW + SYNOP


NEXT = 1000  # ps between tokens: enough for the links to fall silent in between


def two_sources(tokens):
    """Encoder 0 is near the tile, encoder 1 at the far corner: later tokens come from the near
    one before token 0 is complete."""
    return layer(
        [(1, 2)] * tokens, encoders=[(0, 0, 1), (5, 3, 0)], tiles=[(1, 0, 0)], home=(1, 1, 0)
    )


def with_bystander():
    """Two tokens; behind its marker the near encoder tells another task of the tile's core."""
    story = two_sources(2)
    story.task("bystander", (1, 0, 0), "norm")
    story.send("encoder 0", "value", "bystander")
    return story


def near_arrivals(told, token):
    """(spike, marker, bystander's value) at the tile's core. The norm shares the near encoder's
    core; its value for the far one goes before them on the injection link, then to the gateway."""
    link = told.fired("norm", token).end + 3 * LOCAL.flit + LOCAL.hop + 2 * LOCAL.flit
    return (
        link + X.hop + 4 * X.flit,
        link + 5 * X.flit + X.hop + 5 * X.flit,
        link + (5 + 6) * X.flit + X.hop + 5 * X.flit,
    )


def test_a_message_without_a_free_set_waits_for_the_release():
    """One set: token 1's spike and marker are served, in order, when token 0's neurons are done."""
    told = with_bystander().tell(starts=[0, NEXT], core__token_slots="1")
    release = told.fired("tile 0", token=0).end
    assert max(near_arrivals(told, token=1)) < told.fired("tile 0", token=0).start
    spike, marker, *far = told.served("tile 0", token=1)
    assert (spike.start, spike.message) == (release, "spike")
    assert (marker.start, marker.message) == (release + SPIKE, "marker")
    assert [r.message for r in far] == ["spike", "marker"]


def test_with_a_second_set_the_same_messages_are_served_when_they_come():
    told = with_bystander().tell(starts=[0, NEXT], core__token_slots="2")
    near = told.served("tile 0", token=1)[:2]
    assert [r.start for r in near] == list(near_arrivals(told, token=1)[:2])


def test_a_waiting_message_blocks_no_other():
    """Token 1's value for the bystander passes token 1's parked spike and marker."""
    told = with_bystander().tell(starts=[0, NEXT], core__token_slots="1")
    (value,) = told.served("bystander", token=1)
    assert value.start == near_arrivals(told, token=1)[2]
    assert value.end < told.fired("tile 0", token=0).start


def test_a_released_message_goes_behind_those_that_waited_for_the_core():
    """Token 1 comes while the tile updates for a microsecond: its spike and marker await the
    set, the bystander's value only the core. The set is free at the end of the update."""
    told = with_bystander().tell(
        starts=[0, 3 * NEXT], core__token_slots="1", timing__update_ps="1 us"
    )
    update = told.fired("tile 0", token=0)
    assert update.start < min(near_arrivals(told, 1)) < max(near_arrivals(told, 1)) < update.end
    assert told.served("bystander", token=1)[0].start == update.end
    assert told.served("tile 0", token=1)[0].start == update.end + VALUE


def test_a_release_admits_one_more_token():
    """Two sets: token 1 is served when it comes, token 2 when token 0 is done."""
    told = two_sources(3).tell(starts=[0, NEXT, 2 * NEXT - 400], core__token_slots="2")
    release = told.fired("tile 0", token=0).end
    arrival = near_arrivals(told, token=2)[0]
    assert arrival < release < told.fired("tile 0", token=1).start
    assert told.served("tile 0", token=1)[0].start == near_arrivals(told, token=1)[0]
    assert told.served("tile 0", token=2)[0].start == release


def test_seventy_waiting_tokens_are_served_one_by_one_in_their_order():
    """A microsecond per neuron: by then every message of every token waits at the tile."""
    told = two_sources(70).tell(core__token_slots="1", timing__update_ps="1 us")
    for token in range(1, 70):
        before, now = told.fired("tile 0", token - 1), told.fired("tile 0", token)
        assert now.start == before.end + 2 * SPIKE + 2 * AXON


def test_tokens_follow_each_other_through_the_stages():
    """Prefill: while token 0 is at the tile, the norm and the encoder work on token 1."""
    told = layer([(1, 2), (2, 1)]).tell()
    first, second = told.fired("encoder 0", token=0), told.fired("encoder 0", token=1)
    assert second.start - first.start == 2 * HOST.flit  # as the host's link lets them in
    assert second.end < told.fired("tile 0", token=0).start


STRIPES = 3
KEPT = {  # tokens of the last 4 that are 0, 1, 2 modulo 3, at tokens 0 to 7
    "stripe 0": (1, 1, 1, 2, 1, 1, 2, 1),  # 0 | 0 | 0 | 0 3 | 3 | 3 | 3 6 | 6
    "stripe 1": (0, 1, 1, 1, 2, 1, 1, 2),  # - | 1 | 1 | 1 | 1 4 | 4 | 4 | 4 7
    "stripe 2": (0, 0, 1, 1, 1, 2, 1, 1),  # - | - | 2 | 2 | 2 | 2 5 | 5 | 5
}


def ring():
    """The norm sends q to the three stripes of a ring of four tokens, and k, v to one of them."""
    story = stage([(1,)] * 8)
    for i in range(STRIPES):
        story.task(
            f"stripe {i}",
            (1 + i % 2, i // 2, 0),
            "norm",
            ring=Ring(window=4, period=STRIPES, residue=i),
            work={"vec_add": 1},
            ring_work={"vec_mul": 2},
        )
    story.send("norm", "value", *KEPT)
    for i, name in enumerate(KEPT):
        story.send("norm", "value", name, n=2, period=STRIPES, residue=i)
    return story.tell(starts=[i * NEXT for i in range(8)])


def test_a_stripe_works_once_per_token_that_it_keeps():
    told = ring()
    for name, kept in KEPT.items():
        found = [told.fired(name, token).duration for token in range(8)]
        assert found == [VECTOR + n * 2 * VECTOR for n in kept]


def test_keys_and_values_go_to_the_token_s_own_stripe_only():
    told = ring()
    for i, name in enumerate(KEPT):
        for token in range(8):
            values = [r.duration for r in told.served(name, token=token)]
            assert values == ([VALUE, 2 * VALUE] if token % STRIPES == i else [VALUE])


def test_a_stripe_fires_when_its_key_and_value_are_in():
    """Token 1 belongs to stripe 1, at (2, 0): q leaves the norm first, then k and v."""
    told = ring()
    link = told.fired("norm", token=1).end + LOCAL.hop + 2 * LOCAL.flit  # q at the link east
    kv_arrives = link + 6 * X.flit + X.hop + 9 * X.flit + X.hop + 9 * X.flit
    assert told.fired("stripe 1", token=1).start == kv_arrives + 2 * VALUE
    q_arrives = link + 2 * (X.hop + 5 * X.flit)
    assert told.fired("stripe 1", token=2).start - told.fired("norm", token=2).end == (
        q_arrives - told.fired("norm", token=1).end + VALUE
    )


def test_decode_repeats_a_token_picosecond_for_picosecond():
    """Nothing of token 0 is left when token 1 begins: it takes exactly as long."""
    one = layer([(1, 2)]).tell()
    end = one.logits_ps[0]
    two = layer([(1, 2), (1, 2)]).tell(decode=True)
    assert two.logits_ps == {0: end, 1: 2 * end}
    first = [r for r in one.rows]
    second = [r._replace(start=r.start - end, token=0) for r in two.rows if r.token == 1]
    assert second == first

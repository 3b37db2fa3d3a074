"""Every site has a coding that the chip carries, as wide as the contract says."""

from dataclasses import replace

import pytest

from compiler.passes.encode import check_abilities, encode, verify
from hw_models.chip import load_chip
from hw_models.errors import Bug, Unsupported


@pytest.mark.parametrize(("coding", "bits"), [("ternary", 1), ("bitwise", 6), ("graded", 32)])
def test_block_sites_take_the_coding_and_the_head_is_graded(small, coding, bits):
    codes = encode(small.graph, small.chip, coding, 3.0)
    verify(codes, small.graph, small.chip)
    assert [c.site for c in codes] == [s.name for s in small.graph.sites]
    assert {c.coding for c in codes[:-1]} == {coding}
    assert (codes[-1].coding, codes[-1].payload_bits) == ("graded", 16)
    assert {c.payload_bits for c in codes[:-1]} == {bits}


def test_a_chip_that_carries_narrow_payloads_has_narrow_graded_spikes(small):
    chip = load_chip("toy", {"abilities.graded_bits": "24 bit"})
    codes = encode(small.graph, chip, "graded", 3.0)
    assert [c.payload_bits for c in codes] == [24] * (len(codes) - 1) + [16]


def test_bounds_are_those_of_the_contract(small):
    for code, site in zip(small.codes, small.graph.sites, strict=True):
        dense = site.threshold == "absmax16"
        assert code.bound == site.n * (32767 if dense else 3.5)


MISSING = {
    "loihi1": ["a coding that tiles carry", "graded spikes", "multicast", "vector work"],
    "truenorth-like": [
        "8-bit weights",
        "a coding that tiles carry",
        "graded spikes",
        "multicast",
        "vector work",
    ],
}


@pytest.mark.parametrize("target", MISSING)
def test_a_target_that_cannot_run_language_models_says_all_that_it_lacks(target):
    with pytest.raises(Unsupported) as caught:
        check_abilities(load_chip(target))
    assert caught.value.exit_code == 4
    assert caught.value.what.startswith(f"{target} lacks ")
    every = {word for words in MISSING.values() for word in words}
    assert {word for word in every if word in caught.value.what} == {*MISSING[target]}


@pytest.mark.parametrize("target", ["toy", "loihi-like", "seneca-like", "hala-point-like"])
def test_a_target_of_language_models_lacks_nothing_but_maybe_its_sync(target):
    check_abilities(load_chip(target, {"sync": "dataflow"}))


def test_a_site_without_a_coding_or_out_of_order(small):
    for codes in (small.codes[1:], (), small.codes[::-1], (*small.codes, small.codes[-1])):
        with pytest.raises(Bug, match="without a coding"):
            verify(codes, small.graph, small.chip)


def test_a_payload_that_the_chip_cannot_carry(small):
    codes = (*small.codes[:-1], replace(small.codes[-1], payload_bits=33))
    with pytest.raises(Bug, match="33 bits") as caught:
        verify(codes, small.graph, small.chip)
    assert caught.value.where == "head_in"


def test_a_coding_that_the_chip_does_not_know_is_refused_with_those_it_does(small):
    with pytest.raises(Unsupported, match="toy cannot carry morse spikes") as caught:
        encode(small.graph, small.chip, "morse", 3.0)
    assert caught.value.where == small.graph.sites[0].name
    assert "bitwise" in caught.value.fix


@pytest.mark.parametrize("coding", ["binary", "bitwise-2c"])
def test_a_coding_that_the_chip_knows_but_no_tile_carries(small, coding):
    assert coding in small.chip.abilities.codings
    with pytest.raises(Unsupported, match=f"cannot map {coding} spikes") as caught:
        encode(small.graph, small.chip, coding, 3.0)
    assert caught.value.fix == "one of: ternary, bitwise, graded"


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_cores_may_go_on_their_own_or_in_common_steps(sync):
    check_abilities(load_chip("toy", {"sync": sync}))


def test_link_buffers_with_an_end_are_refused_not_ignored():
    with pytest.raises(Unsupported, match="buffers") as caught:
        check_abilities(load_chip("toy", {"link.y.buffer_flits": "4"}))
    assert caught.value.where.startswith("link.y.buffer_flits")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("abilities.multicast", "false", "multicast"),
        ("abilities.vector", "false", "vector work"),
        ("abilities.graded_bits", "8 bit", "graded spikes"),
        ("link.x.buffer_flits", "16", "bounded link buffers"),
    ],
)
def test_an_ability_that_no_program_can_do_without(key, value, named):
    check_abilities(load_chip("toy"))
    with pytest.raises(Unsupported, match=named):
        check_abilities(load_chip("toy", {key: value}))

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
def test_a_target_that_cannot_run_language_models_says_all_that_it_lacks(small, target):
    with pytest.raises(Unsupported) as caught:
        check_abilities(load_chip(target), small.graph)
    assert caught.value.exit_code == 4
    assert caught.value.what.startswith(f"{target} lacks ")
    every = {word for words in MISSING.values() for word in words}
    assert {word for word in every if word in caught.value.what} == {*MISSING[target]}


@pytest.mark.parametrize("target", ["toy", "loihi-like", "seneca-like", "hala-point-like"])
def test_a_target_of_language_models_lacks_nothing(small, target):
    check_abilities(load_chip(target), small.graph)


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
def test_cores_may_go_on_their_own_or_in_common_steps(small, neurons, sync):
    for graph in (small.graph, neurons.graph):
        check_abilities(load_chip("toy", {"sync": sync}), graph)


def test_link_buffers_may_have_an_end(small):
    check_abilities(load_chip("toy", {"link.y.buffer_flits": "4"}), small.graph)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("abilities.multicast", "false", "multicast"),
        ("abilities.vector", "false", "vector work"),
        ("abilities.graded_bits", "8 bit", "graded spikes"),
    ],
)
def test_an_ability_that_no_language_model_can_do_without(small, key, value, named):
    check_abilities(load_chip("toy"), small.graph)
    with pytest.raises(Unsupported, match=named):
        check_abilities(load_chip("toy", {key: value}), small.graph)


NEEDLESS = {
    "abilities.vector": "false",
    "abilities.graded_bits": "0 bit",
    "abilities.multicast": "false",
}


def test_neurons_need_no_vector_work_no_graded_spikes_and_no_multicast(neurons):
    check_abilities(load_chip("toy", NEEDLESS), neurons.graph)
    bits = {"abilities.weight_bits": '["4 bit"]'}
    with pytest.raises(Unsupported, match="lacks 8-bit weights;") as caught:
        check_abilities(load_chip("toy", NEEDLESS | bits), neurons.graph)
    assert caught.value.where == "toy"


@pytest.mark.parametrize("target", ["isaac-like", "hermes-like"])
def test_crossbars_take_counts_but_no_neurons(small, neurons, target):
    check_abilities(load_chip(target), small.graph)
    with pytest.raises(Unsupported, match="lacks digital synapses"):
        check_abilities(load_chip(target), neurons.graph)


def test_spikes_are_binary_and_carry_nothing_but_their_route(neurons):
    codes = encode(neurons.graph, neurons.chip, "bitwise", 3.0)  # whatever is asked of counts
    verify(codes, neurons.graph, neurons.chip)
    assert {(c.coding, c.payload_bits) for c in codes} == {("binary", 0)}
    assert [c.bound for c in codes] == [s.n for s in neurons.graph.sites]
    with pytest.raises(Unsupported, match="cannot carry binary spikes") as caught:
        encode(neurons.graph, load_chip("toy", {"abilities.codings": '["graded"]'}), "graded", 3.0)
    assert "--target" in caught.value.fix

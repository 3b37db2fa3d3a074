"""Tiles cover every synapse once and fit a core; the verifier sees when they do not."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build
from compiler.passes.aspect import groups, tile_state_bytes
from compiler.passes.encode import encode
from compiler.passes.tile import partial_bits, tile, verify
from compiler.statistics import shipped_profile
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit


def moved(small, which, **changes):
    """The small model's tiles with one of them changed."""
    tiles = list(small.tiles)
    tiles[which] = replace(tiles[which], **changes)
    return tuple(tiles)


@pytest.fixture
def inner(small):
    """A tile with others of its linear beside it, in both directions."""
    for i, t in enumerate(small.tiles):
        linear = small.graph.linear(t.linear)
        if t.post > 0 and t.post + t.n_post < linear.n_post and t.pre == 0:
            return i, t
    raise LookupError("no such tile")


def test_the_small_model_is_cut_in_both_directions(small):
    verify(small.tiles, small.graph, small.chip)
    assert {t.pre for t in small.tiles} == {0, 128, 256}
    assert len(small.tiles) > 2 * len(small.graph.linears)


def test_a_missing_tile(small):
    for i in range(len(small.tiles)):
        with pytest.raises(Bug, match="gap"):
            verify(small.tiles[:i] + small.tiles[i + 1 :], small.graph, small.chip)


def test_a_tile_twice(small):
    for t in small.tiles:
        with pytest.raises(Bug, match="overlap"):
            verify((*small.tiles, t), small.graph, small.chip)


def test_a_tile_with_one_axon_less_or_more(small, inner):
    i, t = inner
    for n_pre in (t.n_pre - 1, t.n_pre + 1):
        with pytest.raises(Bug, match=r"at \(|beyond the matrix"):
            verify(moved(small, i, n_pre=n_pre), small.graph, small.chip)


def test_a_tile_with_neurons_of_its_neighbour(small, inner):
    i, t = inner
    align = small.graph.linear(t.linear).align
    for post, n_post in ((t.post - align, t.n_post + align), (t.post, t.n_post + align)):
        with pytest.raises(Bug, match="overlap"):
            verify(moved(small, i, post=post, n_post=n_post), small.graph, small.chip)
    with pytest.raises(Bug, match="gap"):
        verify(moved(small, i, n_post=t.n_post - align), small.graph, small.chip)


def test_a_tile_that_parts_gate_and_up(small):
    """The borders fit together, but neuron 2c and 2c + 1 lie in different tiles."""
    mine = [i for i, t in enumerate(small.tiles) if t.linear.endswith("gate_up") and t.pre == 0]
    posts = sorted({small.tiles[i].post for i in mine})
    tiles = list(small.tiles)
    for i, t in enumerate(tiles):
        if t.linear == small.tiles[mine[0]].linear and t.post == posts[0]:
            tiles[i] = replace(t, n_post=t.n_post - 1)
        if t.linear == small.tiles[mine[0]].linear and t.post == posts[1]:
            tiles[i] = replace(t, post=t.post - 1, n_post=t.n_post + 1)
    with pytest.raises(Bug, match="cuts a group or a channel"):
        verify(tuple(tiles), small.graph, small.chip)


def test_tiles_larger_than_the_cores_of_another_chip(small):
    for key, value in (("core.synapse_memory", "4 KiB"), ("core.in_axons", "127")):
        with pytest.raises(Bug, match="larger than a core"):
            verify(small.tiles, small.graph, load_chip("toy", {key: value}))


@settings(max_examples=30, deadline=None)
@given(
    hidden=st.integers(1, 40).map(lambda n: 12 * n),
    inner=st.integers(1, 500),
    synapses=st.integers(256, 20_000),
    state=st.integers(1000, 40_000),
    axons=st.integers(128, 600),
)
def test_random_sizes_are_covered_once_or_refused(hidden, inner, synapses, state, axons):
    config = GlaSwaConfig(
        vocab_size=30, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=6,
        num_key_value_heads=3, intermediate_size=inner, sliding_window=4,
    )  # fmt: skip
    graph = build(config, "random")
    chip = load_chip(
        "toy",
        {
            "core.synapse_memory": f"{synapses} B",
            "core.state_memory": f"{state} B",
            "core.in_axons": str(axons),
        },
    )
    tiles = tile(graph, encode(graph, chip, "bitwise", 3.0), chip, shipped_profile())
    verify(tiles, graph, chip)
    for linear in graph.linears:
        mine = [t for t in tiles if t.linear == linear.name]
        synapses_seen = Counter(
            (t.post, pre) for t in mine for pre in range(t.pre, t.pre + t.n_pre)
        )
        assert set(synapses_seen.values()) == {1}
        assert sum(t.n_pre * t.n_post for t in mine) == linear.n_pre * linear.n_post
        for t in mine:
            assert t.n_pre * t.n_post <= synapses
            assert tile_state_bytes(t.n_pre, t.n_post, chip.core.token_slots) <= state
            assert t.groups == -(-t.n_pre // 128) == groups(t.n_pre)


@pytest.mark.parametrize(
    ("key", "value", "resource"),
    [
        ("core.synapse_memory", "100 B", "128 bytes of synapse memory; a core of toy has 100"),
        ("core.state_memory", "9 B", "10 bytes of state memory; a core of toy has 9"),
        ("core.in_axons", "20", "128 in-axons; a core of toy has 20"),
    ],
)
def test_a_core_too_small_for_one_neuron(small, key, value, resource):
    with pytest.raises(DoesNotFit) as caught:
        tile(small.graph, small.codes, load_chip("toy", {key: value}), shipped_profile())
    assert caught.value.where == small.graph.linears[0].name
    assert caught.value.what == f"128 inputs of one neuron need {resource}"
    assert f"--set {key}=..." in caught.value.fix


def test_widths_of_partial_sums_are_those_of_the_contract():
    assert partial_bits(18_944 * 3.5) == 40  # DESIGN 3.3: 40 bits at 18,944 inputs
    assert partial_bits(1) == 1 + 22  # 127 * 32767 < 2^22
    # one more input may need one more bit, and never fewer
    widths = [partial_bits(n * 3.5) for n in range(1, 3000)]
    assert widths == sorted(widths)
    for n, width in enumerate(widths, 1):
        assert 127 * 32767 * n * 3.5 <= 2 ** (width - 1) < 2 * 127 * 32767 * n * 3.5

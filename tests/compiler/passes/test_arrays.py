"""Linears on crossbars: whole arrays, all slices of all weights, under every limit of a core."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build
from compiler.passes import arrays
from compiler.passes.dataflow import dataflow
from compiler.passes.encode import encode
from compiler.passes.pack import pack
from compiler.passes.pack import verify as verify_packing
from compiler.passes.tile import tile
from compiler.passes.tile import verify as verify_tiles
from compiler.statistics import shipped_profile
from hw_models.chip import load_chip
from hw_models.errors import Bug, DoesNotFit
from tests.small import model


def cut(graph, chip):
    return tile(graph, encode(graph, chip, "bitwise", 3.0), chip, shipped_profile())


@pytest.fixture
def graph():
    return model(0)[0]


@settings(max_examples=40, deadline=None)
@given(
    hidden=st.integers(1, 40).map(lambda n: 12 * n),
    inner=st.integers(1, 500),
    rows=st.sampled_from([64, 128, 256, 384]),
    columns=st.integers(8, 300),
    per_core=st.integers(1, 12),
    encoding=st.sampled_from(["pairs", "offset"]),
    state=st.integers(500, 40_000),
    axons=st.integers(128, 600),
)
def test_random_sizes_fill_whole_arrays_or_are_refused(
    hidden, inner, rows, columns, per_core, encoding, state, axons
):
    config = GlaSwaConfig(
        vocab_size=30, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=6,
        num_key_value_heads=3, intermediate_size=inner, sliding_window=4,
    )  # fmt: skip
    graph = build(config, "random")
    chip = load_chip(
        "isaac-like",
        {
            "array.rows": str(rows), "array.rows_at_once": "64", "array.columns": str(columns),
            "array.per_core": str(per_core), "array.encoding": encoding,
            "core.state_memory": f"{state} B", "core.in_axons": str(axons),
        },
    )  # fmt: skip
    per_weight = 8 if encoding == "pairs" else 4  # 7 bits in 4 cells, twice; 8 bits in 4 cells
    side_by_side = columns // per_weight
    try:
        tiles = cut(graph, chip)
    except DoesNotFit:
        # for some linear not even one group of inputs of one channel's neurons fits
        assert any(
            -(-width // rows) * -(-lin.align // side_by_side) > per_core
            or lin.align * 6 + width * 4 * 2 > state
            for lin in graph.linears
            for width in [min(128, lin.n_pre)]
        )
        return
    verify_tiles(tiles, graph, chip)
    arrays.verify(tiles, chip)
    for linear in graph.linears:
        mine = [t for t in tiles if t.linear == linear.name]
        seen = Counter((t.post, pre) for t in mine for pre in range(t.pre, t.pre + t.n_pre))
        assert set(seen.values()) == {1}
        for t in mine:
            held = -(-t.n_pre // rows) * -(-t.n_post // side_by_side)
            assert held == arrays.n_arrays(t, chip.array) <= per_core
            assert arrays.synapse_bytes(t, chip) == held * rows * side_by_side
            groups = -(-t.n_pre // 128)
            state_needed = t.n_post * groups * 6 + t.n_pre * 4 * 2
            assert arrays.state_bytes(t, chip) == state_needed <= state
            assert t.n_pre <= axons
            assert t.pre % 128 == 0


def test_no_cut_takes_more_arrays_than_the_matrix_needs_where_cores_are_large(graph):
    """32 weights to a row of an ISAAC array, 128 rows: by hand for every linear."""
    chip = load_chip("isaac-like")
    used = Counter()
    for t in cut(graph, chip):
        used[t.linear] += arrays.n_arrays(t, chip.array)
    for linear in graph.linears:
        assert used[linear.name] == -(-linear.n_pre // 128) * -(-linear.n_post // 32), linear.name


def test_arrays_of_different_tiles_are_never_shared(graph):
    chip = load_chip("isaac-like", {"array.per_core": "7"})
    flow = dataflow(graph, cut(graph, chip), chip)
    packed = pack(flow, chip)
    verify_packing(packed, flow, chip)
    on_core = Counter()
    for unit, core in zip(flow.units, packed.core_of, strict=True):
        for task in unit.tasks:
            tile = flow.tasks[task].tile
            if tile is not None:
                on_core[core] += -(-tile.n_pre // 128) * -(-tile.n_post // 32)
    assert max(on_core.values()) <= 7


def test_bounds_count_cells(graph):
    for target, columns, size in (("isaac-like", 4, 128 * 128), ("hermes-like", 2, 256 * 512)):
        chip = load_chip(target)
        tiles = cut(graph, chip)
        found = arrays.array_bounds(dataflow(graph, tiles, chip), chip)["arrays by cells"]
        cells = columns * sum(lin.n_pre * lin.n_post for lin in graph.linears)
        assert found["bound"] == -(-cells // size)
        assert found["achieved"] == sum(arrays.n_arrays(t, chip.array) for t in tiles)
        assert found["ratio"] == found["achieved"] / found["bound"] >= 1


def test_a_tile_of_more_arrays_than_its_core(graph):
    chip = load_chip("isaac-like")
    tiles = list(cut(graph, chip))
    arrays.verify(tuple(tiles), chip)
    most = max(arrays.n_arrays(t, chip.array) for t in tiles)
    with pytest.raises(Bug, match=f"{most} arrays on a core of {most - 1}"):
        arrays.verify(tuple(tiles), load_chip("isaac-like", {"array.per_core": str(most - 1)}))
    tiles[0] = replace(tiles[0], n_post=97 * 32)
    with pytest.raises(Bug, match="arrays on a core of 96"):
        arrays.verify(tuple(tiles), chip)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"core.state_memory": "900 B"}, "bytes of state"),
        ({"core.in_axons": "100"}, "and 128 in-axons; a core of isaac-like has 96, 65536 and 100"),
        ({"array.rows": "64", "array.rows_at_once": "64", "array.per_core": "1"}, "need 2 arrays"),
    ],
)
def test_a_core_too_small_for_one_neuron_is_named_with_need_and_limit(graph, changed, said):
    with pytest.raises(DoesNotFit) as caught:
        cut(graph, load_chip("isaac-like", changed))
    assert said in caught.value.what
    assert caught.value.where == graph.linears[0].name
    assert caught.value.exit_code == 5


def test_a_digital_target_has_no_arrays(graph):
    with pytest.raises(Bug, match="no crossbar"):
        arrays.array_of(load_chip("toy"))

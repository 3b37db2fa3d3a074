"""Tiles take the shape that sends the fewest bits over the fewest hops, whatever the target."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph import Linear, Part
from compiler.passes.aspect import Load, choose, shapes, tile_state_bytes
from hw_models.chip import load_chip


def matrix(n_pre, n_post, align=1):
    rows = n_post // align
    parts = tuple(Part(f"w{i}", None, (0, rows)) for i in range(align))
    return Linear("some", "site", n_pre, rows * align, parts, align)


def chosen(n_pre, n_post, load, target="loihi-like", **overrides):
    chip = load_chip(target, {k.replace("__", "."): v for k, v in overrides.items()})
    linear = matrix(n_pre, n_post)
    return choose(linear, shapes(linear, chip), load, chip)


@settings(max_examples=60, deadline=None)
@given(
    n_pre=st.integers(1, 6000),
    n_post=st.integers(1, 6000),
    align=st.sampled_from([1, 2]),
    synapses=st.integers(256, 200_000),
    axons=st.integers(128, 5000),
)
def test_every_shape_fits_and_nearly_none_wastes_tiles(n_pre, n_post, align, synapses, axons):
    chip = load_chip(
        "loihi-like", {"core.synapse_memory": f"{synapses} B", "core.in_axons": str(axons)}
    )
    linear = matrix(n_pre, n_post * align, align)
    found = shapes(linear, chip)
    tiles = {}
    for width, height in found:
        assert width * height <= synapses
        assert width <= axons
        assert tile_state_bytes(width, height, chip.core.token_slots) <= chip.core.state_memory
        assert width % 128 == 0 or width == n_pre
        assert height % align == 0
        tiles[width, height] = -(-n_pre // width) * -(-linear.n_post // height)
    assert max(tiles.values()) <= 1.03 * min(tiles.values())


def test_dearer_spikes_make_tiles_narrower_and_dearer_sums_make_them_wider():
    """Wide tiles mean few partial sums, narrow ones few cores to which a spike goes."""
    widths = [
        chosen(3584, 3584, Load(rate, 32, sums)).width
        for rate, sums in ((9.0, 48.0), (1.13, 48.0), (1.13, 480.0))
    ]
    assert widths[0] <= widths[1] <= widths[2]
    assert widths[0] < widths[2]


def test_values_per_message_decide_at_full_size():
    """A header of its own for every sum, or one for many."""
    alone = (64 + 40) / 1
    packed = (64 + 64 * 40) / 64
    one, many = (chosen(3584, 37_888, Load(1.13, 32, bits)) for bits in (alone, packed))
    assert one.width > many.width


def test_a_matrix_with_many_neurons_is_cut_by_columns_one_with_many_inputs_by_rows():
    """So that what crosses between chips is the smaller of both sides."""
    load = Load(1.13, 32, 48.0)
    assert chosen(3584, 37_888, load).along == 1
    down = chosen(18_944, 3584, load)
    assert down.along == -(-3584 // down.height)  # whole rows


def test_slow_chip_links_keep_sums_on_their_chip():
    """The slower the links between chips, the fewer chips share a neuron."""
    load, spread = Load(1.13, 32, 48.0), []
    for ns in (0.3, 3.69, 300):
        shape = chosen(7168, 7168, load, **{"link__chip_x__flit_ps": f"{ns} ns"})
        rows_on_a_chip = 122 / shape.along
        spread.append(max(1.0, -(-7168 // shape.width) / rows_on_a_chip))
    assert spread == sorted(spread, reverse=True)


@pytest.mark.parametrize("target", ["toy", "seneca-like", "hala-point-like"])
def test_every_target_finds_a_shape(target):
    shape = chosen(1000, 500, Load(1.13, 32, 48.0), target)
    assert shape.width % 128 == 0
    assert shape.along >= 1

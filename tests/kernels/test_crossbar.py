"""Crossbars by hand and by brute force: exact where they must be, off as their converters say."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_models.errors import BadInput
from kernels.coding import spikes
from kernels.crossbar import _mix, cells, convert, levels, normal, read, steps


def array(**changed):
    """128 x 128 cells of 2 bits, positive and negative apart, one bit of a count at a time."""
    found = SimpleNamespace(
        rows=128, columns=128, rows_at_once=128, encoding="pairs", bits_per_cell=2, dac_bits=1,
        adc_bits=0, adc_step=1, noise=0.0, seed=0,
    )  # fmt: skip
    for name, value in changed.items():
        setattr(found, name, value)
    found.pairs, found.top = found.encoding == "pairs", 2**found.bits_per_cell - 1
    found.slices = -(-(7 if found.pairs else 8) // found.bits_per_cell)
    found.columns_per_weight = found.slices * (2 if found.pairs else 1)
    found.neurons = found.columns // found.columns_per_weight
    return found


ISAAC = {"encoding": "offset", "adc_bits": 8}

geometry = st.fixed_dictionaries(
    {
        "encoding": st.sampled_from(["pairs", "offset"]),
        "bits_per_cell": st.integers(1, 8),
        "dac_bits": st.integers(1, 8),
        "rows_at_once": st.sampled_from([1, 8, 64, 128]),
        "columns": st.integers(16, 600),
    }
)


def block(seed, n_post, n_pre, most):
    rng = np.random.default_rng(seed)
    q = rng.integers(-127, 128, (n_post, n_pre)).astype(np.int8)
    counts = (rng.integers(-most, most + 1, n_pre) * (rng.random(n_pre) < 0.7)).astype(np.int32)
    return q, counts


def product(q, counts):
    """A[neuron, group], one weight at a time in Python's own integers."""
    return [
        [
            sum(int(w) * int(c) for w, c in zip(row[g : g + 128], counts[g : g + 128], strict=True))
            for g in range(0, counts.size, 128)
        ]
        for row in q
    ]


@settings(max_examples=40, deadline=None)
@given(
    geometry=geometry,
    coding=st.sampled_from(["ternary", "bitwise", "graded"]),
    seed=st.integers(0, 2**32 - 1),
    n_post=st.integers(1, 9),
    n_pre=st.integers(1, 300),
    most=st.sampled_from([1, 20, 300, 32767]),
)
def test_an_ideal_converter_gives_the_integer_product(geometry, coding, seed, n_post, n_pre, most):
    assume(coding != "ternary" or most < 400)  # one step per unit
    q, counts = block(seed, n_post, n_pre, most)
    chosen = array(**geometry)
    found = read(counts, coding, cells(q, chosen, 0), chosen)
    assert found.sums.tolist() == product(q, counts)
    assert found.clipped == 0


extremes = st.sampled_from([-127, -1, 0, 1, 127])


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(extremes, min_size=1, max_size=4),
    counts=st.lists(st.sampled_from([-3, -1, 0, 1, 7]), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    mixed=st.booleans(),
)
def test_eight_bits_are_enough_for_isaac_whatever_weights_and_counts(weights, counts, seed, mixed):
    """ISAAC, section V: no flipped column adds up to more than 128 x 3 / 2 = 192."""
    rng = np.random.default_rng(seed)
    q = rng.choice(weights, (3, 128)).astype(np.int8)
    if mixed:
        q = np.where(rng.random(q.shape) < 0.5, q, rng.integers(-127, 128, q.shape)).astype(np.int8)
    counts = rng.choice(counts, 128).astype(np.int32)
    chosen = array(**ISAAC)
    found = read(counts, "bitwise", cells(q, chosen, 0), chosen)
    assert found.sums.tolist() == product(q, counts)
    assert found.clipped == 0


def test_seven_bits_are_not():
    """q + 128 = 255 and 1, in 64 rows each, all driven. Three slices: 64 x 3 = 192, read as 127;
    the lowest is stored upside down, 64 x 0 + 64 x 2 = 128, read as 127; so are the 128 ones."""
    q = np.repeat([[127, -127]], 64, 0).reshape(1, 128).astype(np.int8)
    chosen = array(**ISAAC | {"adc_bits": 7})
    found = read(np.ones(128, np.int32), "bitwise", cells(q, chosen, 0), chosen)
    assert found.clipped == 3 + 1 + 1
    lowest = 3 * 127 - 127
    assert found.sums.tolist() == [[lowest + 127 * (4 + 16 + 64) - 128 * 127]]


def test_a_small_array_by_hand():
    """q = 5, -3 in cells of 2 bits: positive 1, 1 | 0, 0; negative 0, 0 | 3, 0.

    Counts 3, 2 drive 1, 0 and then 1, 1: positive columns 1, 1 and 1, 1, negative 0, 0 and 3, 0.
    With one code per 2: halves round up, so 1 reads as 2, and 3 as 4.
    """
    q, counts = np.array([[5, -3]], np.int8), np.array([3, 2], np.int32)
    chosen = array(bits_per_cell=2)
    assert levels(q, chosen)[:, 0].tolist() == [
        [1, 0], [1, 0], [0, 0], [0, 0], [0, 3], [0, 0], [0, 0], [0, 0],
    ]  # fmt: skip
    exact = read(counts, "bitwise", cells(q, chosen, 0), chosen)
    assert exact.sums.tolist() == [[5 * 3 - 3 * 2]]
    assert (exact.driven, exact.reads, exact.conversions) == (3, 2, 16)
    coarse = array(adc_bits=4, adc_step=2)
    found = read(counts, "bitwise", cells(q, coarse, 0), coarse)
    assert found.sums.tolist() == [[(2 + 4 * 2) + 2 * (2 + 4 * 2) - 2 * 4]]
    tight = array(adc_bits=1)
    found = read(counts, "bitwise", cells(q, tight, 0), tight)
    assert found.sums.tolist() == [[(1 + 4) + 2 * (1 + 4) - 2 * 1]]
    assert found.clipped == 1


@pytest.mark.parametrize(
    ("sums", "bits", "step", "codes", "clipped"),
    [
        ((0, 127, 128, 255, 256), 0, 7, (0, 0, 1, 1, 1), 0),  # ideal: no step, no end
        ((10**15,), 0, 1, (-(-(10**15) // 256),), 0),
        ((0, 127, 128, 255), 2, 1, (0, 0, 1, 1), 0),
        ((3 * 256 + 127, 3 * 256 + 128), 2, 1, (3, 3), 1),
        ((383, 384, 1151, 1152), 4, 3, (0, 3, 3, 6), 0),
    ],
)
def test_codes_round_halves_up_and_stop_at_the_largest(sums, bits, step, codes, clipped):
    values, over = convert(np.array(sums, np.int64), array(adc_bits=bits, adc_step=step))
    assert values.tolist() == list(codes)
    assert over.sum() == clipped


counted = st.lists(st.integers(-40, 40), min_size=1, max_size=20).map(np.array)


@given(counts=counted, dac=st.integers(1, 8), coding=st.sampled_from(["ternary", "bitwise"]))
def test_drives_add_up_to_the_counts_and_fit_their_converter(counts, dac, coding):
    total = np.zeros_like(counts)
    for unit, drive in steps(counts, coding, array(dac_bits=dac)):
        assert 0 < drive.max() < 2**dac and drive.min() >= 0
        assert not drive[unit * counts < 0].any()
        total += unit * drive
    assert total.tolist() == counts.tolist()


@given(counts=counted)
def test_one_bit_at_a_time_drives_a_row_once_per_spike(counts):
    for coding in ("bitwise", "ternary"):
        driven = sum(int(drive.sum()) for _, drive in steps(counts, coding, array()))
        assert driven == spikes(counts, coding).sum()


@given(counts=counted)
def test_steps_are_units_of_a_unary_count_and_bits_of_the_others(counts):
    ups, downs = (np.maximum(s * counts, 0) for s in (1, -1))
    unary = list(steps(counts, "ternary", array()))
    assert len(unary) == ups.max() + downs.max()
    bits = [bit for part in (ups, downs) for bit in range(6) if (part >> bit & 1).any()]
    assert len(list(steps(counts, "graded", array()))) == len(bits)


@settings(max_examples=20, deadline=None)
@given(geometry=geometry, seed=st.integers(0, 99), n_post=st.integers(1, 40))
def test_what_was_done_is_counted_row_by_row(geometry, seed, n_post):
    q, counts = block(seed, n_post, 200, 20)
    chosen = array(**geometry)
    found = read(counts, "bitwise", cells(q, chosen, 0), chosen)
    side_by_side = len({neuron // chosen.neurons for neuron in range(n_post)})
    driven = reads = 0
    for start in range(0, 200, chosen.rows_at_once):
        rows = counts[start : start + chosen.rows_at_once].tolist()
        digits = [
            [abs(c) // 2 ** (chosen.dac_bits * t) % 2**chosen.dac_bits for c in rows if s * c > 0]
            for s in (1, -1)
            for t in range(5)
        ]
        driven += sum(d > 0 for step in digits for d in step)
        reads += sum(any(step) for step in digits)
    assert found.driven == driven * side_by_side
    assert found.reads == reads * side_by_side
    columns = n_post * chosen.columns_per_weight + (0 if chosen.pairs else side_by_side)
    assert found.conversions == reads * columns


@pytest.mark.parametrize("encoding", ["pairs", "offset"])
def test_cells_are_the_same_wherever_a_linear_is_cut(encoding):
    q, _ = block(0, 12, 300, 1)
    chosen = array(encoding=encoding, noise=0.05, seed=7)
    whole = cells(q, chosen, 3)
    for lo, n, pre, n_pre in ((0, 12, 0, 300), (5, 4, 128, 172), (11, 1, 256, 44)):
        part = cells(q[lo : lo + n, pre : pre + n_pre], chosen, 3, lo, pre)
        assert (part.level == whole.level[:, lo : lo + n, pre : pre + n_pre]).all()
        blocks = slice(pre // 128, -(-(pre + n_pre) // 128))
        assert (part.flip == whole.flip[:, lo : lo + n, blocks]).all()
    assert (cells(q, chosen, 4).level != whole.level).any()
    assert (cells(q, array(encoding=encoding, noise=0.05, seed=8), 3).level != whole.level).any()


def test_noise_has_the_stated_spread_and_leaves_empty_cells_alone():
    q = np.concatenate([np.full((8, 4000), 90), np.zeros((8, 4000))], 1).astype(np.int8)
    chosen = array(bits_per_cell=7, noise=0.04)
    level = cells(q, chosen, 0).level.astype(float) / 256
    programmed, empty = level[0, :, :4000], level[0, :, 4000:]
    assert programmed.mean() == pytest.approx(90, abs=0.1)
    assert programmed.std() == pytest.approx(0.04 * 127, rel=0.02)
    assert not empty.any() and not level[1].any()


def test_deviates_are_normal():
    z = normal(5, 2, 0, 0, (4, 100, 250)).ravel()
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.std() == pytest.approx(1, abs=0.01)
    shares = [(np.abs(z) < limit).mean() for limit in (1, 2, 3)]
    assert shares == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.005)
    assert abs(np.corrcoef(z[1:], z[:-1])[0, 1]) < 0.01


def test_the_hash_is_splitmix64():
    """Its first outputs from state 0, as its author publishes them."""
    gamma = 0x9E3779B97F4A7C15
    states = [np.uint64(i * gamma % 2**64) for i in range(3)]
    assert [hex(_mix(s)) for s in states] == [
        "0xe220a8397b1dcdaf", "0x6e789e6aa1b965f4", "0x6c45d188009454f",
    ]  # fmt: skip


def test_a_sum_beyond_int32_is_an_error():
    q, counts = np.full((1, 128), 127, np.int8), np.full(128, 2**18, np.int32)
    with pytest.raises(BadInput, match="does not fit int32"):
        read(counts, "graded", cells(q, array(), 0), array())


def test_a_silent_token_reads_nothing():
    q = np.full((3, 130), 100, np.int8)
    for chosen in (array(), array(**ISAAC)):
        found = read(np.zeros(130, np.int32), "bitwise", cells(q, chosen, 0), chosen)
        assert (found.driven, found.reads, found.conversions) == (0, 0, 0)
        assert not found.sums.any()

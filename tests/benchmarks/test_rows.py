"""The benchmark of rows runs small; its figures are of exact sums and of what it says."""

import os

import numpy as np
import pytest

from benchmarks import rows as benchmark

SHAPES = [(300, 256), (256, 1300)]


@pytest.fixture(scope="module")
def token():
    return benchmark.decode_of(SHAPES, rounds=1, repetitions=1)


def test_a_matrix_is_cut_into_tiles_and_put_together_again():
    one = benchmark.layer(np.random.default_rng(1), 1300, 5000)
    assert len(one.tile) == 4 and one.weight.size == 1300 * 5000
    assert one.matrix()[1299, 4999] == one.weight[-1]
    assert np.bincount(one.matrix().ravel().astype(int) + 128).tolist() == (
        np.bincount(one.weight.astype(int) + 128).tolist()
    )


@pytest.mark.parametrize("active", [0.0, 0.3, 0.82, 1.0])
def test_the_share_of_active_channels_is_the_one_asked_for(active):
    counts = benchmark.payloads(np.random.default_rng(2), 4096, active)
    assert (counts != 0).sum() == round(4096 * active)
    assert active == 0 or set(np.abs(counts[counts != 0]).tolist()) == set(range(1, 8))


def test_a_kernel_that_is_wrong_is_not_timed(monkeypatch):
    honest = benchmark.linear_sums

    def wrong(y, *arrays):
        honest(y, *arrays)
        y[3] += 1

    monkeypatch.setattr(benchmark, "linear_sums", wrong)
    with pytest.raises(ArithmeticError, match="256 x 300"):
        benchmark.decode_of(SHAPES, rounds=1, repetitions=1)


def test_every_kernel_is_measured_near_and_far_on_one_and_two_threads():
    found = benchmark.kernel(rounds=1, repetitions=1, n=256, beyond=1 << 18)
    assert len(found) == 10 and min(found.values()) > 0
    assert sum("from memory" in name for name in found) == 4


def test_the_gain_is_that_of_bytes_times_that_of_sparsity(token):
    assert token["weights"] == 300 * 256 + 256 * 1300
    assert token["gain"] == pytest.approx(token["gain_of_bytes"] * token["gain_of_sparsity"])
    seconds = token["seconds"]
    assert token["gain"] * seconds["rows"] == pytest.approx(
        min(seconds["torch float32"], seconds["torch bfloat16"])
    )
    assert set(seconds) == {
        "rows", "rows, all active", "torch float32", "torch bfloat16", "torch int8",
    }  # fmt: skip


def test_what_torch_multiplies_are_the_same_weights():
    one = benchmark.layer(np.random.default_rng(3), 256, 300)
    mantissa = np.ones_like(one.mantissa)
    plain = benchmark.Layer(256, 300, one.tile, one.weight, mantissa)
    counts, y = benchmark.payloads(np.random.default_rng(4), 256, 0.5), np.zeros(300, np.int64)
    plain.sums(counts, y)
    assert y.tolist() == (counts.astype(np.int64) @ one.matrix()).tolist()


def test_a_miss_is_called_a_miss(token):
    rates = {f"{what}, 2 threads": 41e9 for what in ("1 to 7, in cache", "+-1, in cache")}
    rates |= {"1 to 7, from memory, 2 threads": 16e9, "read, 2 threads": 26e9}
    told = {g.name: g.verdict for g in benchmark.goals(rates, token | {"gain": 3.1}, 1.1)}
    assert set(told.values()) == {"met"}
    rates |= {"1 to 7, from memory, 2 threads": 14e9}
    told = {g.name: g.verdict for g in benchmark.goals(rates, token | {"gain": 2.9}, 1.3)}
    assert [name for name, verdict in told.items() if verdict == "met"] == [
        "1 to 7, in cache", "+-1, in cache",
    ]  # fmt: skip


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="resident memory of Linux")
def test_a_loaded_program_does_not_hold_its_weights_twice():
    assert 0.9 < benchmark.resident(2e7) < 1.9

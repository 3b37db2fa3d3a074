"""The benchmark of the weight path runs small; what it measures holds at any size."""

import pytest

from benchmarks import weights
from benchmarks.random_checkpoint import config_of, count, write


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A small model and one of ten times the layers, 6 and 60 million weights."""
    found = {}
    for million in (6, 60):
        folder = tmp_path_factory.mktemp("models") / "checkpoint"
        write(folder, config_of(million * 1e6, hidden=512, vocab=2000))
        found[million] = folder
    return found


@pytest.fixture(scope="module")
def measured(checkpoints):
    return {million: weights.measure(folder) for million, folder in checkpoints.items()}


def test_all_weights_are_measured(checkpoints, measured):
    for million, found in measured.items():
        n = count(config_of(million * 1e6, hidden=512, vocab=2000))
        table = 2000 * 512
        assert found.weights == n == pytest.approx(million * 1e6, rel=0.3)
        assert 2 * n < found.checkpoint_bytes < 2.02 * n
        # an int8 per weight, a mantissa per 128, and the embedding in bfloat16
        assert (n - table) * (1 + 4 / 128) + 2 * table < found.program_bytes < 1.1 * n + 2 * table
        assert found.mb_per_s == pytest.approx(found.checkpoint_bytes / found.wall_s / 1e6)
        assert found.cpu_s > 0


def test_memory_does_not_grow_with_the_model(measured):
    """108 MB more of checkpoint, 56 MB more of program."""
    small, large = measured[6], measured[60]
    assert large.program_bytes - small.program_bytes > 50e6
    assert large.peak_bytes - small.peak_bytes < 40e6
    assert large.peak_bytes < weights.GOAL_BYTES


def test_every_stage_has_a_rate(checkpoints):
    found = weights.stages(checkpoints[6])
    assert list(found) == ["read", "quantise", "verify", "hash", "write"]
    assert min(found.values()) > 1e5


@pytest.mark.parametrize(("good", "verdict"), [(True, "met"), (False, "MISSED")])
def test_a_miss_is_called_a_miss(good, verdict):
    assert weights._verdict(good) == verdict

"""The shipped profile says what SpikingBrain publishes, and where it comes from."""

import hashlib
from pathlib import Path

import compiler
from compiler.statistics import shipped_profile


def test_the_published_figures():
    """arXiv 2509.05276, section 5.5: k = 3, 1.13 bitwise spikes per channel, 18.4 % silent."""
    found = shipped_profile()
    assert found.silent_share == 0.184
    assert found.spikes_per_channel["bitwise"] == 1.13
    assert found.spikes_per_channel["ternary"] == 3.0
    assert (
        found.spikes_per_channel["graded"] == 0.816
    )  # 1 - 0.184: one graded spike per active channel
    assert "2509.05276" in found.origin


def test_the_hash_is_that_of_the_file():
    data = Path(compiler.__file__).parent / "data/spikingbrain-7b.json"
    assert shipped_profile().sha256 == hashlib.sha256(data.read_bytes()).hexdigest()

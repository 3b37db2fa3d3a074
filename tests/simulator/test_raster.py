"""A raster shows the spikes of the coding, pixel by pixel."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.activity import Activity
from hw_models.errors import BadInput
from simulator.raster import BINS, png, raster, telling_sites


def recorded(counts):
    activity = Activity()
    for token, row in enumerate(np.asarray(counts, np.int32)):
        activity.add("layers.0.attn_in", token, row, np.float32(1))
    return activity


def pixels(data):
    """Palette indices of an uncompressed-filter PNG, by the PNG specification."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            kind + body
        )
        chunks[kind], at = body, at + 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 3)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], len(chunks[b"PLTE"]) // 3


@pytest.mark.parametrize(
    ("coding", "spikes"),
    [
        ("bitwise", [0, 1, 1, 2, 3]),  # set bits of 0, 1, 2, 5, 7
        ("ternary", [0, 1, 2, 5, 7]),
        ("graded", [0, 1, 1, 1, 1]),
        ("binary", [7, 8, 5, 12, 0]),  # above the smallest, -7
    ],
)
def test_spikes_are_those_of_the_coding(coding, spikes):
    drawn = raster(recorded([[0, 1, -2, 5, -7]]), "layers.0.attn_in", coding)
    assert drawn.spikes[:, 0].tolist() == spikes


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_pixel_is_the_bin_of_its_count(channels, tokens, seed):
    counts = np.random.default_rng(seed).integers(-20, 21, (tokens, channels))
    index, colours = pixels(png(raster(recorded(counts), "layers.0.attn_in", "ternary")))
    assert index.shape == (channels, tokens)
    assert colours == len(BINS)
    for (channel, token), i in np.ndenumerate(index):
        low, high = BINS[i]
        n = abs(int(counts[token, channel]))
        assert low <= n and (high is None or n <= high)


def test_many_channels_are_sampled_from_first_to_last():
    counts = np.arange(1000)[None, :]
    drawn = raster(recorded(counts), "layers.0.attn_in", "ternary", rows=64)
    assert drawn.n == 1000
    assert (drawn.channels[0], drawn.channels[-1], drawn.channels.size) == (0, 999, 64)
    assert np.ptp(np.diff(drawn.channels)) <= 1
    assert drawn.spikes[:, 0].tolist() == drawn.channels.tolist()


def test_a_site_that_was_not_recorded_is_named():
    with pytest.raises(BadInput, match="nowhere"):
        raster(recorded([[1]]), "nowhere", "bitwise")


def test_one_spiking_site_of_every_kind_is_shown(activity):
    shown = telling_sites(activity, {"head_in": "absmax16"})
    assert shown == ["layers.2.attn_in", "layers.2.o_in", "layers.2.mlp_in", "layers.2.down_in"]


def test_an_expert_is_drawn_at_the_tokens_that_chose_it():
    activity = recorded([[1, 1]] * 6)
    for token in (1, 4):
        activity.add("layers.1.experts.0.down_in", token, np.array([2, -3], np.int32), 1.0)
    drawn = raster(activity, "layers.1.experts.0.down_in", "ternary")
    assert drawn.spikes.tolist() == [[0, 2, 0, 0, 2, 0], [0, 3, 0, 0, 3, 0]]
    assert (drawn.tokens, drawn.ran, drawn.mean) == (6, 2, 2.5)
    activity.tokens["layers.1.experts.0.down_in"][1] = 6
    with pytest.raises(BadInput, match="tokens that others have not"):
        raster(activity, "layers.1.experts.0.down_in", "ternary")

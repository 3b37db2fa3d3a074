"""Spike rasters: how many spikes every channel of a site sent for every token, as a PNG."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compiler.activity import Activity
from compiler.operations import layer_kind
from hw_models.errors import BadInput
from kernels.coding import encode

ROWS: Final = 256
"""Most channels drawn; more are sampled evenly, and the page says so."""

BINS: Final = ((0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, None))
"""Spikes per colour, ends included: bitwise stays in the first ones, unary codings burst."""

COLOURS: Final = ("#f4f4ef", "#bcd9e6", "#6fb0cf", "#2f7fb0", "#15507f", "#0b1f3f")


@dataclass(frozen=True, slots=True)
class Raster:
    """spikes int64[n_shown, tokens]: of channel channels[i] (of n) for every token of the run.

    ran: tokens that the site encoded; an expert is silent for those that chose others.
    """

    site: str
    n: int
    channels: NDArray[np.int64]
    spikes: NDArray[np.int64]
    ran: int

    @property
    def tokens(self) -> int:
        return int(self.spikes.shape[1])

    @property
    def mean(self) -> float:
        """Spikes per channel shown and token encoded."""
        return float(self.spikes.sum() / max(1, self.channels.size * self.ran))


def raster(activity: Activity, site: str, coding: str, rows: int = ROWS) -> Raster:
    """Spikes of one site under a coding; BadInput for a site that was not recorded."""
    counts = activity.stacked(site)
    n, own = counts.shape[1], activity.tokens[site]
    tokens = max(len(of) for of in activity.tokens.values())  # of a site that always runs
    if not 0 <= min(own) <= max(own) < tokens:
        raise BadInput(f"site {site} has tokens that others have not", where="activity.parquet")
    spikes = np.zeros((n, tokens), np.int64)
    width = int(np.abs(counts.astype(np.int64)).max(initial=0)).bit_length() + 1
    for row, token in zip(counts, own, strict=True):
        train = encode(row, coding, bits=width, site=site, token=token)
        np.add.at(spikes[:, token], train.channel, train.times)
    channels = np.unique(np.linspace(0, n - 1, min(n, rows)).astype(np.int64))
    return Raster(site, n, channels, spikes[channels], len(own))


def telling_sites(activity: Activity, thresholds: Mapping[str, str]) -> list[str]:
    """One spiking site of every kind, from the middle layer; thresholds[site] = its rule."""
    kinds: dict[str, list[str]] = {}
    for site in activity.counts:
        if thresholds.get(site) != "absmax16":
            kinds.setdefault(layer_kind(site), []).append(site)
    return [sites[len(sites) // 2] for sites in kinds.values()]


def png(drawn: Raster) -> bytes:
    """One pixel per (channel, token): channels downwards, tokens to the right; colours as BINS."""
    index = np.zeros(drawn.spikes.shape, np.uint8)
    for i, (low, _) in enumerate(BINS):
        index[drawn.spikes >= low] = i
    height, width = index.shape
    # every line begins with its filter: 0, none
    lines = np.concatenate([np.zeros((height, 1), np.uint8), index], axis=1)
    palette = bytes.fromhex("".join(c.removeprefix("#") for c in COLOURS))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", palette)
        + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""The coding table: how an integer count becomes spikes (DESIGN 3.2). Plain Python and NumPy.

A *spike event* is (channel, payload, times): `times` equal spikes of that payload, sent
back to back; unary codings use it as a burst, so that memory stays bounded. Every
coding is exact on integers: summing payload * times per channel (plus the zero point)
gives the counts back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpikeTrain:
    """One token's spikes at one site, in emission order.

    channel, payload, times  int64[n_events]
    steps       T, the time steps the coding spans (0 when nothing is sent)
    zero_point  what every channel's sum is short of (binary only)
    """

    channel: I64
    payload: I64
    times: I64
    steps: int
    zero_point: int = 0

    @property
    def n_spikes(self) -> int:
        return int(self.times.sum())


@dataclass(frozen=True, slots=True)
class Coding:
    """A row of the table.

    code          its number in programs and engines
    synop         event kind of one delivered spike at one synapse
    payload_bits  what a spike message carries besides its header (graded: the target's width)
    delta         whether differences of counts may be sent instead of counts
    encode        counts int64[n], bits -> SpikeTrain; bits is the fixed width of bitwise-2c
    """

    name: str
    code: int
    synop: str
    payload_bits: int
    delta: bool
    encode: Callable[[I64, int], SpikeTrain]


def _burst(counts: I64) -> SpikeTrain:
    """ternary: |n| spikes of the count's sign."""
    channel = np.flatnonzero(counts)
    n = counts[channel]
    return SpikeTrain(channel, np.sign(n), np.abs(n), int(np.abs(n).max(initial=0)))


def _above_minimum(counts: I64) -> SpikeTrain:
    """binary: n - min spikes of weight 1; the minimum is the zero point."""
    if not counts.any():
        return _burst(counts)
    low = int(counts.min())
    lifted = _burst(counts - low)
    return SpikeTrain(lifted.channel, lifted.payload, lifted.times, lifted.steps, low)


def _set_bits(magnitude: I64, width: int) -> tuple[I64, I64]:
    """(channel, bit) of every set bit, channel by channel, lowest bit first."""
    planes = (magnitude[:, None] >> np.arange(width)) & 1
    channel, bit = np.nonzero(planes)
    return channel, bit


def _signed_bits(counts: I64, bits: int) -> SpikeTrain:
    """bitwise: one signed spike of weight 2^b per set bit of |n|."""
    steps = int(np.abs(counts).max(initial=0)).bit_length()
    channel, bit = _set_bits(np.abs(counts), steps)
    payload = np.sign(counts[channel]) << bit
    return SpikeTrain(channel, payload, np.ones_like(payload), steps)


def _two_complement(counts: I64, bits: int) -> SpikeTrain:
    """bitwise-2c: set bits of n mod 2^bits; the highest weighs -2^(bits - 1)."""
    if not counts.any():
        return _burst(counts)
    channel, bit = _set_bits(counts & ((1 << bits) - 1), bits)
    payload = np.where(bit == bits - 1, -(1 << (bits - 1)), np.int64(1) << bit)
    return SpikeTrain(channel, payload, np.ones_like(payload), bits)


def _whole(counts: I64, bits: int) -> SpikeTrain:
    """graded: one spike that carries n."""
    channel = np.flatnonzero(counts)
    return SpikeTrain(channel, counts[channel], np.ones(channel.size, np.int64), int(channel.size > 0))


CODINGS: dict[str, Coding] = {
    row.name: row
    for row in (
        Coding("binary", 0, "synop_add", 0, False, lambda counts, bits: _above_minimum(counts)),
        Coding("ternary", 1, "synop_add", 1, True, lambda counts, bits: _burst(counts)),
        # sign and a bit number below 32
        Coding("bitwise", 2, "synop_shift", 6, True, _signed_bits),
        Coding("bitwise-2c", 3, "synop_shift", 5, True, _two_complement),
        Coding("graded", 4, "synop_mac", 32, True, _whole),
    )
}


def encode(
    counts: NDArray[np.integer], coding: str, *, bits: int = 32, site: str = "", token: int = 0
) -> SpikeTrain:
    """Spikes of counts int[n]. Raises BadInput when bitwise-2c needs more than `bits` bits."""
    wide = counts.astype(np.int64)
    if coding == "bitwise-2c":
        half = 1 << (bits - 1)
        if wide.size and (wide.min() < -half or wide.max() >= half):
            raise BadInput(
                f"a count of {int(wide[np.abs(wide).argmax()])} needs more than {bits} bits",
                where=f"site {site}, token {token}",
                fix="calibrate with wider text, or use bitwise",
            )
    return CODINGS[coding].encode(wide, bits)


def decode(train: SpikeTrain, n: int) -> I64:
    """int64[n] counts that a spike train stands for."""
    counts = np.full(n, train.zero_point, np.int64)
    np.add.at(counts, train.channel, train.payload * train.times)
    return counts


@dataclass(frozen=True, slots=True)
class Density:
    """Spiking of one token by the three definitions of DESIGN 3.2.

    slot_share is spikes / (channels x steps), NaN for steps = 0
    """

    silent_share: float
    spikes_per_channel: float
    slot_share: float
    steps: int


def density(counts: NDArray[np.integer], coding: str, *, bits: int = 32) -> Density:
    """How densely counts int[n] spike."""
    train = encode(counts, coding, bits=bits)
    n = counts.size
    active = np.unique(train.channel).size
    share = train.n_spikes / (n * train.steps) if train.steps else float("nan")
    return Density(1 - active / n, train.n_spikes / n, share, train.steps)

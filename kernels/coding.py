"""The coding table: how an integer count becomes spikes (DESIGN 3.2). Plain Python and NumPy.

A *spike* is one nonzero symbol that a channel sends in one time step. It reaches a synapse
as a signed *payload*: the symbol times the weight of its step. A *spike event* is a burst of
`times` equal spikes of one channel in successive steps, so that a unary code of a large
count needs no more memory than a small one. Every coding is exact on integers: payload *
times, summed over a channel's events, plus the zero point, gives its count back.

Codings after SpikingBrain (arXiv 2509.05276, section 3.3.2), graded after Loihi 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw_models.errors import BadInput

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SpikeTrain:
    """One token's spike events at one site, in emission order: channel by channel.

    channel     int32[n_events]
    step        int32[n_events]  time step of the event's first spike
    payload     int64[n_events]  what one spike adds, in units of V_th
    times       int64[n_events]  spikes of the event, one per step
    steps       T, the time steps that the train spans; 0 when nothing is sent
    zero_point  what every channel's sum is short of (binary only, and only for negative counts)
    """

    channel: I32
    step: I32
    payload: I64
    times: I64
    steps: int
    zero_point: int = 0

    @property
    def n_spikes(self) -> int:
        return int(self.times.sum())


@dataclass(frozen=True, slots=True)
class Coding:
    """A row of the table. Functions take the counts int64[n] of a token and the width `bits`.

    code      its number in programs and engines
    alphabet  what a channel may send in one step
    synop     event kind of one delivered spike at one synapse
    delta     whether differences of counts may be sent instead of counts
    fixed     whether `bits`, chosen at compile time, is all that a signed count may take
    payload   bits -> bits that a spike message carries besides its header
    steps     T
    spikes    int64[n] spikes per channel, in closed form
    events    the spikes themselves: channel, step, payload, times
    zero      the zero point
    """

    name: str
    code: int
    alphabet: str
    synop: str
    delta: bool
    fixed: bool
    payload: Callable[[int], int]
    steps: Callable[[I64, int], int]
    spikes: Callable[[I64, int], I64]
    events: Callable[[I64, int], tuple[I64, I64, I64, I64]]
    zero: Callable[[I64], int] = lambda n: 0

    @property
    def payload_bits(self) -> int:
        """Payload bits of a spike at the widest, 32-bit counts."""
        return self.payload(32)


def _burst(n: I64) -> tuple[I64, I64, I64, I64]:
    """|n| spikes of the count's sign, from step 0 on."""
    channel = np.flatnonzero(n)
    return channel, np.zeros_like(channel), np.sign(n[channel]), np.abs(n[channel])


def _set_bits(magnitude: I64) -> tuple[I64, I64]:
    """(channel, bit) of every set bit, channel by channel, lowest bit first."""
    planes = (magnitude[:, None] >> np.arange(int(magnitude.max()).bit_length())) & 1
    channel, bit = np.nonzero(planes)
    return channel, bit


def _signed_bits(n: I64) -> tuple[I64, I64, I64, I64]:
    """One spike per set bit of |n|, in the step of that number; it has the count's sign."""
    channel, bit = _set_bits(np.abs(n))
    return channel, bit, np.sign(n[channel]) << bit, np.ones_like(bit)


def _two_complement(n: I64, bits: int) -> tuple[I64, I64, I64, I64]:
    """One spike per set bit of n mod 2^bits; the highest weighs -2^(bits - 1)."""
    channel, bit = _set_bits(_modulo(n, bits))
    sign = np.where(bit == bits - 1, -1, 1)
    return channel, bit, sign << bit, np.ones_like(bit)


def _whole(n: I64) -> tuple[I64, I64, I64, I64]:
    """One spike that carries n."""
    channel = np.flatnonzero(n)
    return channel, np.zeros_like(channel), n[channel], np.ones_like(channel)


def _zero_point(n: I64) -> int:
    return min(0, int(n.min()))


def _largest(n: I64) -> int:
    return int(np.abs(n).max())


def _modulo(n: I64, bits: int) -> I64:
    return n & ((1 << bits) - 1)


CODINGS: dict[str, Coding] = {
    row.name: row
    for row in (
        Coding(
            "binary",
            code=0,
            alphabet="0 1",
            synop="synop_add",
            delta=False,  # a zero point of differences has no receiver
            fixed=False,
            payload=lambda bits: 0,
            # without negative counts nothing is subtracted: spikes (0, 1) are sent as they are
            steps=lambda n, bits: int(n.max()) - _zero_point(n),
            spikes=lambda n, bits: n - _zero_point(n),
            events=lambda n, bits: _burst(n - _zero_point(n)),
            zero=_zero_point,
        ),
        Coding(
            "ternary",
            code=1,
            alphabet="-1 0 1",
            synop="synop_add",
            delta=True,
            fixed=False,
            payload=lambda bits: 1,  # sign
            steps=lambda n, bits: _largest(n),
            spikes=lambda n, bits: np.abs(n),
            events=lambda n, bits: _burst(n),
        ),
        Coding(
            "bitwise",
            code=2,
            alphabet="-1 0 1",
            synop="synop_shift",
            delta=True,
            fixed=False,
            payload=lambda bits: 1 + 5,  # sign, step below 32
            steps=lambda n, bits: _largest(n).bit_length(),
            spikes=lambda n, bits: np.bitwise_count(np.abs(n)).astype(np.int64),
            events=lambda n, bits: _signed_bits(n),
        ),
        Coding(
            "bitwise-2c",
            code=3,
            alphabet="0 1",
            synop="synop_shift",
            delta=True,
            fixed=True,
            payload=lambda bits: (bits - 1).bit_length(),  # step below `bits`
            steps=lambda n, bits: bits if n.any() else 0,
            spikes=lambda n, bits: np.bitwise_count(_modulo(n, bits)).astype(np.int64),
            events=_two_complement,
        ),
        Coding(
            "graded",
            code=4,
            alphabet="integers",
            synop="synop_mac",
            delta=True,
            fixed=True,
            payload=lambda bits: bits,  # the signed count
            steps=lambda n, bits: int(n.any()),
            spikes=lambda n, bits: (n != 0).astype(np.int64),
            events=lambda n, bits: _whole(n),
        ),
    )
}


def encode(
    counts: NDArray[np.integer], coding: str, *, bits: int = 32, site: str = "", token: int = 0
) -> SpikeTrain:
    """Spikes of counts int[n], n >= 1.

    Raises BadInput when bitwise-2c or graded needs more than `bits` signed bits.
    """
    row, n = CODINGS[coding], counts.astype(np.int64)
    half = 1 << (bits - 1)
    beyond = n[(n < -half) | (n >= half)]
    if row.fixed and beyond.size:
        raise BadInput(
            f"a count of {int(beyond[0])} needs more than the {bits} bits of its {coding} spikes",
            where=f"site {site}, token {token}",
            fix="calibrate with wider text, or use bitwise",
        )
    channel, step, payload, times = row.events(n, bits)
    return SpikeTrain(
        channel.astype(np.int32),
        step.astype(np.int32),
        payload,
        times,
        row.steps(n, bits),
        row.zero(n),
    )


def decode(train: SpikeTrain, n: int) -> I64:
    """int64[n] counts that a spike train stands for."""
    counts = np.full(n, train.zero_point, np.int64)
    np.add.at(counts, train.channel, train.payload * train.times)
    return counts


def spikes(counts: NDArray[np.integer], coding: str, *, bits: int = 32) -> I64:
    """int64[n] spikes per channel of counts int[n], without making them."""
    return CODINGS[coding].spikes(counts.astype(np.int64), bits)


def steps(counts: NDArray[np.integer], coding: str, *, bits: int = 32) -> int:
    """T, the time steps that counts int[n] take; 0 when they send nothing."""
    return CODINGS[coding].steps(counts.astype(np.int64), bits)


@dataclass(frozen=True, slots=True)
class Density:
    """How densely one token spikes, by the three definitions of DESIGN 3.2.

    silent_share        (a) channels without a spike / channels
    spikes_per_channel  (b)
    slot_share          (c) spikes / (channels x steps), NaN for steps = 0
    steps               T
    """

    silent_share: float
    spikes_per_channel: float
    slot_share: float
    steps: int


def density(counts: NDArray[np.integer], coding: str, *, bits: int = 32) -> Density:
    """Density of counts int[n]."""
    per_channel = spikes(counts, coding, bits=bits)
    t = steps(counts, coding, bits=bits)
    mean = float(per_channel.mean())
    return Density(float((per_channel == 0).mean()), mean, mean / t if t else float("nan"), t)

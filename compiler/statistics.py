"""Spiking statistics that passes need before any run: the shipped profile of SpikingBrain-7B, and
a guess for networks of spiking neurons."""

import hashlib
import json
import math
from dataclasses import dataclass, field
from importlib.resources import files

DENSE_SPIKES = 1.0
"""Per channel under absmax16: practically none is zero."""


@dataclass(frozen=True, slots=True)
class SiteStats:
    """Mean spikes per channel by coding, and where the figures come from.

    silent_share is the share of channels without a spike per token; at_most[n] of those whose
    count is not above n, where that is known; no count exceeds `largest`.
    """

    spikes_per_channel: dict[str, float]
    silent_share: float
    origin: str
    sha256: str
    largest: float = math.inf
    at_most: dict[str, float] = field(default_factory=dict)

    def rate(self, coding: str, dense: bool) -> float:
        """Expected spikes per channel and token; dense: a 16-bit site (absmax16)."""
        return DENSE_SPIKES if dense else self.spikes_per_channel[coding]

    @property
    def mean_count(self) -> float:
        """Mean |n| of a channel: the spikes that ternary needs for it."""
        return self.spikes_per_channel["ternary"]

    def active_share(self, dense: bool) -> float:
        """Expected share of channels with a spike per token."""
        return DENSE_SPIKES if dense else 1 - self.silent_share

    def symbols(self, coding: str, dense: bool, n: int) -> int:
        """Expected symbols of the longest train of n channels: of the largest of n counts that
        are distributed exponentially, with the mean of SpikingBrain's."""
        if dense or coding == "graded":
            return 1
        largest = math.ceil(min(self.mean_count * (math.log(n) + 0.577), self.largest))
        return largest if coding == "ternary" else largest.bit_length()


def shipped_profile() -> SiteStats:
    """Published figures of SpikingBrain-7B (arXiv 2509.05276, section 5.5), for all sites alike."""
    text = files("compiler").joinpath("data/spikingbrain-7b.json").read_text("utf-8")
    found = json.loads(text)
    return SiteStats(
        found["spikes_per_channel"],
        found["silent_share"],
        found["origin"],
        hashlib.sha256(text.encode()).hexdigest(),
        at_most=found["at_most"],
    )


def spiking_network() -> SiteStats:
    """What is taken for granted of spiking neurons: one in ten spikes in a step."""
    share = 0.1
    origin = f"assumed: {share:g} spikes per channel and step"
    digest = hashlib.sha256(origin.encode()).hexdigest()
    return SiteStats({"binary": share, "ternary": share}, 1 - share, origin, digest, largest=1)

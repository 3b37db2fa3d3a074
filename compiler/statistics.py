"""Spiking statistics that passes need before any run: the shipped profile of SpikingBrain-7B."""

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.resources import files

DENSE_SPIKES = 1.0
"""Per channel under absmax16: practically none is zero."""


@dataclass(frozen=True, slots=True)
class SiteStats:
    """Mean spikes per channel by coding, and where the figures come from.

    silent_share is the share of channels without a spike per token.
    """

    spikes_per_channel: dict[str, float]
    silent_share: float
    origin: str
    sha256: str

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
        largest = math.ceil(self.mean_count * (math.log(n) + 0.577))
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
    )

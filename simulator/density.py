"""How sparse a run was, by the three definitions of DESIGN 3.2, per kind of site."""

from collections import defaultdict
from dataclasses import dataclass

from compiler.operations import layer_kind
from simulator.result import Run, SiteActivity


@dataclass(frozen=True, slots=True)
class Density:
    """Sites of one kind, layers added up.

    (a) silent_share: (channel, token) pairs without a spike
    (b) spikes_per_channel: spikes / (channels x tokens)
    (c) per_slot: spikes / sum of (channels x T) over tokens; None where T was always 0
    """

    site: str
    sites: int
    channels: int
    tokens: int
    spikes: int
    silent_share: float
    spikes_per_channel: float
    per_slot: float | None
    mean_steps: float
    max_count: int


def densities(run: Run) -> tuple[Density, ...]:
    """One row per kind of site, in the order in which the model meets them."""
    groups: dict[str, list[SiteActivity]] = defaultdict(list)
    for site in run.sites:
        groups[layer_kind(site.site)].append(site)
    return tuple(_density(kind, sites) for kind, sites in groups.items())


def _density(kind: str, sites: list[SiteActivity]) -> Density:
    pairs = sum(s.n * s.tokens for s in sites)
    slots = sum(s.n * s.steps for s in sites)
    tokens = sum(s.tokens for s in sites)
    spikes = sum(s.spikes for s in sites)
    return Density(
        site=kind,
        sites=len(sites),
        channels=sum(s.n for s in sites),
        tokens=max(s.tokens for s in sites),
        spikes=spikes,
        silent_share=sum(s.silent for s in sites) / max(1, pairs),
        spikes_per_channel=spikes / max(1, pairs),
        per_slot=spikes / slots if slots else None,
        mean_steps=sum(s.steps for s in sites) / max(1, tokens),
        max_count=max(s.max_count for s in sites),
    )

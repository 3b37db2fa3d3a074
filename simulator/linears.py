"""The linears of a run: which site drives which operation, and how sparsely."""

from dataclasses import dataclass

from hw_models.errors import Bug
from simulator.result import Phase, Run, SiteActivity

SYNOPS = ("synop_add", "synop_shift", "synop_mac")


@dataclass(frozen=True, slots=True)
class Driven:
    """One fused linear, the site that drives it, and the dense model's MACs for one token.

    dense: the site is no spike code but 16-bit activations (absmax16, DESIGN 3.3).
    """

    operation: str
    macs: int
    site: SiteActivity
    dense: bool

    @property
    def silent_share(self) -> float:
        """(channel, token) pairs without a spike."""
        return self.site.silent / max(1, self.site.n * self.site.tokens)

    @property
    def spikes_per_channel(self) -> float:
        return self.site.spikes / max(1, self.site.n * self.site.tokens)


def linears(run: Run) -> tuple[Driven, ...]:
    """All linears, in the run's order; raises Bug for one whose site was not recorded."""
    sites = {s.site: s for s in run.sites}
    found = []
    for name, operation in run.operations.items():
        if not operation.get("macs"):
            continue
        site = sites.get(operation.get("site", ""))
        if site is None:
            raise Bug("no activity of the site that drives it", where=name)
        dense = operation.get("threshold") == "absmax16"
        found.append(Driven(name, int(operation["macs"]), site, dense))
    return tuple(found)


def tokens_in(phase: Phase, driven: Driven) -> int:
    """Tokens of a phase that a linear computed."""
    return phase.ran.get(driven.operation, phase.tokens)


def weighted_silent(driven: tuple[Driven, ...]) -> float:
    """Silent share of the inputs, weighted by MACs; NaN without linears."""
    macs = sum(d.macs for d in driven)
    return sum(d.macs * d.silent_share for d in driven) / macs if macs else float("nan")


def total(phases: tuple[Phase, ...], operation: str, kind: str) -> int:
    """Count of one kind of one operation over phases."""
    return sum(p.counters.get(operation, {}).get(kind, 0) for p in phases)


def flat(phase: Phase) -> dict[tuple[str, str], int]:
    """{(operation, kind): count} of a phase, as the ledger takes it."""
    return {(op, kind): n for op, kinds in phase.counters.items() for kind, n in kinds.items()}

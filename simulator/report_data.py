"""What a report holds: frozen, ready to be shown, written as JSON or put into a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any, Final

from compiler.operations import layer_kind
from hw_models.cost import Range
from hw_models.ledger import Ledger
from simulator.baselines import Baseline
from simulator.density import Density
from simulator.paper import PaperTable
from simulator.ranges import times
from simulator.report_json import baseline_json, paper_json, plain
from simulator.result import AnalogError, Buffers, Sampled, Traced
from simulator.sampled_rows import sampled_json

FORMAT: Final = "spikeloom-report-1"


@dataclass(frozen=True, slots=True)
class Events:
    """What happened in a phase; hops are flits x links passed, chip crossings included.

    A spike is one message per tree of its channel, and none where all its cores are its own.
    """

    spike_messages: int
    delivered: int
    synops: int
    messages: int
    hops: int
    chip_hops: int
    conversions: int = 0  # columns of crossbars converted, instead of synops


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase of one stream: its ledger (joules of the whole phase) and its baselines."""

    name: str
    tokens: int
    seconds: float
    steps: int  # under barrier sync; else 0
    barrier_seconds: float
    macs: int  # of the dense model
    streams: int
    events: Events
    ledger: Ledger
    baselines: tuple[Baseline, ...]

    @property
    def unit(self) -> str:
        """What `tokens` counts: tokens, or time steps of spiking neurons."""
        return "step" if self.name == "steps" else "token"

    @property
    def steps_per_token(self) -> float:
        return self.steps / self.tokens

    @property
    def barrier_share(self) -> float:
        """Of the time, in barriers."""
        return self.barrier_seconds / self.seconds

    @property
    def joules_per_token(self) -> Range:
        return times(self.ledger.total(), 1 / self.tokens)

    @property
    def pj_per_mac(self) -> Range:
        return times(self.ledger.total(), 1e12 / self.macs)

    @property
    def watts(self) -> Range:
        """Power of all chips, with every stream running."""
        return times(self.ledger.total(), self.streams / self.seconds)

    @property
    def levels(self) -> dict[str, Range]:
        """Cumulative joules per token."""
        return {k: times(v, 1 / self.tokens) for k, v in self.ledger.levels().items()}

    @property
    def unpriced(self) -> dict[str, int]:
        """Counts that nothing pays for, by event kind."""
        found: Counter[str] = Counter()
        for entry in self.ledger.unpriced:
            found[entry.kind] += entry.count
        return dict(found)

    def by_operation(self) -> dict[str, dict[str, float]]:
        """Nominal joules per token: {operation, layers added up: {level: joules}}."""
        return by_operation(self.ledger, self.tokens)

    def to_json(self) -> dict[str, Any]:
        """Joules per token and pJ per MAC side by side, for this run and every baseline."""
        return {
            "name": self.name,
            "unit": self.unit,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "steps_per_token": self.steps_per_token,
            "barrier_share": self.barrier_share,
            "macs": self.macs,
            "joules_per_token": self.joules_per_token,
            "pj_per_mac": self.pj_per_mac,
            "watts": self.watts,
            "cumulative_j_per_token": self.levels,
            "by_operation_j_per_token": self.by_operation(),
            "assumed_share": self.ledger.assumed_share(),
            "events": self.events,
            "included": self.ledger.included,
            "unpriced": self.ledger.unpriced,
            "baselines": [baseline_json(b, self.tokens, self.macs) for b in self.baselines],
        }


@dataclass(frozen=True, slots=True)
class Mapped:
    """Where an operation runs, layers added up."""

    operation: str
    kind: str
    where: str
    why: str
    layers: int
    macs: int
    cores: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a page or a terminal shows; phases in the order they ran."""

    model: str
    target: str
    title: str
    profile: str
    coding: str
    k: float
    program_hash: str
    text: str
    prompt_tokens: int
    generated_tokens: int
    streams: int
    max_streams: int
    n_chips: int
    n_cores: int
    macs_per_token: int
    time_to_first_token_s: float
    tokens_per_s: float  # of one stream
    sync: str
    phases: tuple[PhaseReport, ...]
    paper: PaperTable
    density: tuple[Density, ...]
    mapping: tuple[Mapped, ...]
    assumptions: tuple[str, ...]
    chip: Mapping[str, Any]
    analog: AnalogError | None = None  # what converters and cells of a crossbar changed
    workload: str = "functional"
    trace: Traced | None = None  # what a trace of the run holds
    buffers: Buffers | None = None  # of links, where some have an end
    sampled: Sampled | None = None  # estimates are for `streams`; phases hold what was simulated

    @property
    def main(self) -> PhaseReport:
        """The phase that headlines quote: decode, else the last one."""
        return headline_phase(self.phases)

    def rows(self) -> list[dict[str, Any]]:
        """Every count as a flat dict, ready for pandas; status: priced, included or unpriced."""
        rows: list[dict[str, Any]] = []
        for p in self.phases:
            head = {"phase": p.name, "status": "priced"}
            rows += [head | r | {"j_per_token": r["energy_j"] / p.tokens} for r in p.ledger.rows()]
            rows += [head | asdict(e) | {"status": "included"} for e in p.ledger.included]
            rows += [head | asdict(e) | {"status": "unpriced"} for e in p.ledger.unpriced]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Format spikeloom-report-1; what is not known (or not finite) is null."""
        skipped = ("phases", "chip", "paper", "sampled")
        main = self.main
        return plain(
            {
                "format": FORMAT,
                "headline": {
                    "phase": main.name,
                    "joules_per_token": main.joules_per_token,
                    "pj_per_mac": main.pj_per_mac,
                    "watts": main.watts,
                    "tokens_per_s": self.tokens_per_s,
                    "time_to_first_token_s": self.time_to_first_token_s,
                    "steps_per_token": main.steps_per_token,
                    "barrier_share": main.barrier_share,
                    "chips": self.n_chips,
                    "cores": self.n_cores,
                    "assumed_share": main.ledger.assumed_share(),
                    "unpriced_kinds": sorted(main.unpriced),
                },
                **{name: getattr(self, name) for name in self.__slots__ if name not in skipped},
                "phases": [p.to_json() for p in self.phases],
                "paper": paper_json(self.paper),
                "sampled": self.sampled and sampled_json(self.sampled),
                "target_resolved": self.chip,
                "rows": self.rows(),
            }
        )


def headline_phase(phases: Sequence[PhaseReport]) -> PhaseReport:
    """Decode, else the last phase."""
    return next((p for p in phases if p.name == "decode"), phases[-1])


def by_operation(found: Ledger, tokens: int) -> dict[str, dict[str, float]]:
    """Nominal joules per token by operation (layers added up) and level."""
    parts: dict[str, dict[str, list[float]]] = {}
    for row in found.priced:
        levels = parts.setdefault(layer_kind(row.operation), {})
        levels.setdefault(row.level, []).append(row.joules.nominal)
    return {
        op: {level: fsum(joules) / tokens for level, joules in levels.items()}
        for op, levels in parts.items()
    }

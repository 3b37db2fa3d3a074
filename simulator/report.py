"""A run's energy, speed and sparsity as one frozen report: counts x cited costs, beside baselines.

build_report does all arithmetic; report_text and report_html only show it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any

from hw_models.chip import Chip, chip_from_text
from hw_models.cost import Range
from hw_models.device import load_device
from hw_models.errors import BadInput
from hw_models.events import MESSAGES
from hw_models.ledger import Ledger, ledger, static_of
from simulator.baselines import FORMATS, Baseline, build_baselines, variants
from simulator.density import Density, densities
from simulator.linears import SYNOPS, flat, layer_kind, linears, tokens_in
from simulator.paper import PaperTable, paper_table, target_steps
from simulator.ranges import times
from simulator.result import Phase, Run
from simulator.si import share, si


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


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """One phase of one stream: its ledger (joules of the whole phase) and its baselines."""

    name: str
    tokens: int
    seconds: float
    macs: int  # of the dense model
    streams: int
    events: Events
    ledger: Ledger
    baselines: tuple[Baseline, ...]

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
    phases: tuple[PhaseReport, ...]
    paper: PaperTable
    density: tuple[Density, ...]
    mapping: tuple[Mapped, ...]
    assumptions: tuple[str, ...]
    chip: Mapping[str, Any]

    @property
    def main(self) -> PhaseReport:
        """The phase that headlines quote: decode, else the last one."""
        return _main(self.phases)

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
        """The whole report; what is not known (or not finite) is null."""
        from simulator.report_json import as_json

        return as_json(self)


def build_report(run: Run, baselines: Sequence[str] = ("fp16", "int8"), streams: int = 1) -> Report:
    """Price a run and set it beside baselines.

    streams: independent sequences that share the static power. Raises BadInput for an unknown
    baseline, for streams below 1 or above run.max_streams, for a run without tokens.
    """
    if not 1 <= streams <= run.max_streams:
        raise BadInput(
            f"{streams} streams; this program can run 1 to {run.max_streams}",
            where=run.target,
            fix=f"--streams {max(1, min(streams, run.max_streams))}",
        )
    chip = chip_from_text(json.dumps(run.chip, sort_keys=True), run.target)
    phases = tuple(
        _phase(run, p, chip, baselines, streams) for p in run.phases if p.tokens and p.counters
    )
    if not phases:
        raise BadInput("the run holds no tokens", where=run.model)
    main = _main(phases)
    original = next(p for p in run.phases if p.name == main.name)
    return Report(
        model=run.model,
        target=run.target,
        title=chip.title,
        profile=run.profile,
        coding=run.coding,
        k=run.k,
        program_hash=run.program_hash,
        text=run.text,
        prompt_tokens=len(run.prompt),
        generated_tokens=len(run.generated),
        streams=streams,
        max_streams=run.max_streams,
        n_chips=run.n_chips,
        n_cores=run.n_cores,
        macs_per_token=run.macs_per_token,
        time_to_first_token_s=run.time_to_first_token_s if run.logits_ps else float("nan"),
        tokens_per_s=run.tokens_per_s,
        phases=phases,
        paper=_paper(run, main, original),
        density=densities(run),
        mapping=_mapping(run),
        assumptions=_assumptions(run, chip, phases, streams),
        chip=run.chip,
    )


def _main(phases: Sequence[PhaseReport]) -> PhaseReport:
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


def _phase(
    run: Run, phase: Phase, chip: Chip, baselines: Sequence[str], streams: int
) -> PhaseReport:
    seconds = (phase.end_ps - phase.start_ps) * 1e-12
    static = static_of(chip, run.n_chips, seconds, streams)
    return PhaseReport(
        name=phase.name,
        tokens=phase.tokens,
        seconds=seconds,
        macs=sum(d.macs * tokens_in(run, phase, d) for d in linears(run)),
        streams=streams,
        events=_events(phase),
        ledger=ledger(flat(phase), chip.costs, static=static),
        baselines=build_baselines(baselines, run, phase, chip, streams),
    )


def _events(phase: Phase) -> Events:
    def count(*kinds: str) -> int:
        return sum(n for (_, kind), n in flat(phase).items() if kind in kinds)

    crossings = ("flit_chip_x", "flit_chip_y")
    return Events(
        spike_messages=count("msg_spike"),
        delivered=count("delivered_spike"),
        synops=count(*SYNOPS),
        messages=count(*(f"msg_{name}" for name in MESSAGES)),
        hops=count("flit_x", "flit_y", *crossings),
        chip_hops=count(*crossings),
    )


def _paper(run: Run, phase: PhaseReport, original: Phase) -> PaperTable:
    """The paper's steps, then this run's ledger beside 45 nm at the levels both have."""
    device = load_device("cmos45")
    usual = {
        form: next(b for b in variants(device, form, run, original, phase.streams) if b.usual)
        for form in FORMATS
    }

    def per_mac(levels: Mapping[str, Range | None]) -> dict[str, float | None]:
        return {k: v.nominal * 1e12 / phase.macs if v else None for k, v in levels.items()}

    own = {k: v.nominal * 1e12 / phase.macs for k, v in phase.ledger.levels().items()}
    fp16, int8 = (per_mac(usual[form].levels()) for form in FORMATS)
    return paper_table(run, device, target_steps(run.target, own, fp16, int8))


def _mapping(run: Run) -> tuple[Mapped, ...]:
    groups: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for name, op in run.operations.items():
        key = (layer_kind(name), str(op["kind"]), str(op["where"]), str(op.get("why", "")))
        groups.setdefault(key, []).append(op)
    return tuple(
        Mapped(
            *key,
            layers=len(ops),
            macs=sum(int(op.get("macs", 0)) for op in ops),
            cores=sum(int(op.get("n_cores", 0)) for op in ops),
        )
        for key, ops in groups.items()
    )


def _assumptions(
    run: Run, chip: Chip, phases: Sequence[PhaseReport], streams: int
) -> tuple[str, ...]:
    """What a reader must know before quoting a number of this report."""
    source, grade = chip.sources["static_power"]
    shares = ", ".join(f"{share(p.ledger.assumed_share())} in {p.name}" for p in phases)
    found = [
        f"Joules that rest on costs of grade 'assumed': {shares}.",
        f"Static energy: {run.n_chips} x {si(chip.static_power.nominal, 'W')} (chips that hold a "
        f"tile) x wall time, over {streams} {'stream' if streams == 1 else 'streams'}. "
        f"Source: {source} ({grade}).",
        "Embedding look-up and sampling run on the host; only the bits carried there are counted.",
        f"Model profile '{run.profile}', coding '{run.coding}', k = {run.k:g}; batch 1.",
    ]
    included = {e.cost for p in phases for e in p.ledger.included}
    for cost in chip.costs:
        if cost.key in included:
            others = ", ".join(kind for kind in cost.covers if kind not in cost.per)
            found.append(f"The cost '{cost.key}' holds {others} already: it is not counted again.")
    for note in dict.fromkeys(n for p in phases for b in p.baselines for n in b.assumes):
        found.append(f"Baselines: {note}.")
    return tuple(found)

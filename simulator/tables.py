"""Rows that the terminal and the page share: levels, baselines, operations, prices."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from compiler.operations import layer_kind
from hw_models.cost import Range
from hw_models.events import LEVELS
from hw_models.ledger import STATIC, Ledger, Row
from hw_models.si import share, si, whole
from simulator.baselines import ON_CHIP
from simulator.ranges import times
from simulator.report_data import PhaseReport
from simulator.result import AnalogError, Buffers, LinearError

ALL_LEVELS: Final = (*LEVELS, STATIC)
LEVEL_NAMES: Final = {
    "arithmetic": "arithmetic",
    "memory": "+ memory",
    "network": "+ network",
    "rest": "+ vector work",
    STATIC: "+ static power",
}


@dataclass(frozen=True, slots=True)
class LevelRow:
    """Cumulative joules per token up to a level; None: a baseline has no numbers for it."""

    level: str
    name: str
    total: Range
    pj_per_mac: float
    baselines: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class LevelTable:
    baselines: tuple[str, ...]
    rows: tuple[LevelRow, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The run beside one baseline, up to the last level that both can price."""

    name: str
    level: str
    joules: float  # per token
    baseline: float


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """Joules per token by level (not cumulative), and what is left out."""

    title: str
    format: str
    sums: int  # bits
    skips_silent: bool
    arithmetic: float | None
    memory: float | None
    network: float | None
    rest: float | None
    static: float | None
    joules: float  # of all that is priced
    pj_per_mac: float
    left_out: str


@dataclass(frozen=True, slots=True)
class OperationRow:
    operation: str
    joules: float  # per token
    share: float
    largest: str  # event kind that takes most


@dataclass(frozen=True, slots=True)
class PricedRow:
    """Ledger rows of one kind of operation, layers added up: count x unit cost = joules."""

    operation: str
    kind: str
    level: str
    count: int
    unit: Range
    joules: Range  # of the phase
    cost: str
    source: str
    grade: str
    note: str


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """Analog sums of linears of one kind: the worst of the layers."""

    operation: str
    layers: int
    rms: float
    largest: float


def error_rows(error: AnalogError) -> list[ErrorRow]:
    """Linears by kind, in the order in which the model meets them."""
    kinds: dict[str, list[LinearError]] = {}
    for name, found in error.linears.items():
        kinds.setdefault(layer_kind(name), []).append(found)
    return [
        ErrorRow(kind, len(same), max(e.rms for e in same), max(e.largest for e in same))
        for kind, same in kinds.items()
    ]


def error_lines(error: AnalogError) -> list[tuple[str, str]]:
    """What an analog error comes to, apart from the sums."""
    clipped = error.clipped / max(1, error.conversions)
    return [
        ("conversions", f"{whole(error.conversions)}, {share(clipped)} clipped"),
        ("logits, KL(exact sums | this run)", f"{error.kl:.3g} nats, mean of {error.logits}"),
        ("same most likely next token", share(error.same_top)),
    ]


def buffer_rows(buffers: Buffers) -> list[tuple[str, str, str, str]]:
    """Kind of link, flits of a buffer, most that one held, time that messages waited for room."""
    return [
        (
            name,
            whole(use.flits) if use.flits else "no end",
            whole(use.high_water_flits),
            si(use.stalled_ps * 1e-12, "s"),
        )
        for name, use in buffers.links.items()
    ]


def buffer_lines(buffers: Buffers) -> list[tuple[str, str]]:
    """Queues without an end."""
    return [
        ("most messages waiting to leave a core", whole(buffers.injection_high_water)),
        ("most messages at a core, not done with", whole(buffers.ejection_high_water)),
    ]


def level_rows(phase: PhaseReport) -> LevelTable:
    """The run's levels, with every baseline's usual variant beside them."""
    shown = [b for b in phase.baselines if b.usual]
    beside = [b.levels() for b in shown]
    rows = []
    for level, total in phase.levels.items():
        pj = total.nominal * phase.tokens * 1e12 / phase.macs
        others = tuple(
            found.nominal / phase.tokens if (found := levels[level]) else None for levels in beside
        )
        rows.append(LevelRow(level, LEVEL_NAMES[level], total, pj, others))
    return LevelTable(tuple(_short(b.name) for b in shown), tuple(rows))


def _short(baseline: str) -> str:
    return "int8 on chip" if baseline == ON_CHIP else baseline


def comparisons(phase: PhaseReport) -> list[Comparison]:
    """How the run stands against the usual variant of every baseline."""
    table = level_rows(phase)
    found = []
    for i, name in enumerate(table.baselines):
        both = [(row, j) for row in table.rows if (j := row.baselines[i]) is not None]
        if both:
            row, joules = both[-1]
            found.append(Comparison(name, row.level, row.total.nominal, joules))
    return found


def own_levels(found: Ledger, tokens: int) -> dict[str, float]:
    """Nominal joules per token of each level alone."""
    sums: Counter[str] = Counter()
    for row in found.priced:
        sums[row.level] += row.joules.nominal / tokens
    return dict(sums)


def baseline_rows(phase: PhaseReport) -> list[BaselineRow]:
    """Every variant of every baseline."""
    rows = []
    for b in phase.baselines:
        own = own_levels(b.ledger, phase.tokens)
        joules = b.ledger.total().nominal
        kinds = sorted({u.kind for u in b.ledger.unpriced})
        left_out = [*b.missing, *kinds]  # levels, then kinds of events
        rows.append(
            BaselineRow(
                b.title,
                _short(b.name.rpartition(":")[2]),
                b.accumulate_bits,
                b.skips_silent,
                *(own.get(level) if level not in b.missing else None for level in ALL_LEVELS),
                joules=joules / phase.tokens,
                pj_per_mac=joules * 1e12 / phase.macs,
                left_out=", ".join(left_out),
            )
        )
    return rows


def operation_rows(phase: PhaseReport) -> list[OperationRow]:
    """Operations by joules, largest first; static power is one of them."""
    kinds: dict[str, Counter[str]] = {}
    for row in phase.ledger.priced:
        by_kind = kinds.setdefault(layer_kind(row.operation), Counter())
        by_kind[row.kind] += row.joules.nominal
    total = phase.ledger.total().nominal
    rows = [
        OperationRow(
            operation,
            sum(by_kind.values()) / phase.tokens,
            sum(by_kind.values()) / total if total else 0.0,
            by_kind.most_common(1)[0][0],
        )
        for operation, by_kind in kinds.items()
    ]
    return sorted(rows, key=lambda r: (-r.joules, r.operation))


def priced_rows(rows: Iterable[Row]) -> list[PricedRow]:
    """Ledger rows with layers added up, in ledger order."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((layer_kind(row.operation), row.kind, row.cost), []).append(row)
    return [
        PricedRow(
            operation,
            kind,
            same[0].level,
            sum(r.count for r in same),
            same[0].unit,
            times(same[0].unit, sum(r.count for r in same)),
            cost,
            same[0].source,
            same[0].grade,
            same[0].note,
        )
        for (operation, kind, cost), same in found.items()
    ]

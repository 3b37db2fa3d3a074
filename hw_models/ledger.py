"""From counts to joules: every joule is a count times a cited unit cost.

A kind without a cost is listed as unpriced, never a silent zero; a kind that another
cost holds already (Davies' synop holds its weight fetch) is listed as included. Sums
are exactly rounded (math.fsum), so totals do not depend on any order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum, isfinite
from operator import index
from typing import Final

from hw_models.chip import Chip
from hw_models.cost import Cost, Range
from hw_models.errors import Bug
from hw_models.events import KINDS, LEVELS, level_of

STATIC: Final = "static"
"""Level and kind of the static row; it comes last, from time and not from events."""

_KIND_ORDER: Final = {kind: i for i, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Static:
    """Power of the chips that hold a tile, over the wall time of a phase."""

    n_chips: int
    power_w: Range  # per chip
    seconds: float
    streams: int  # independent sequences that share the power
    source: str
    grade: str


@dataclass(frozen=True, slots=True)
class Row:
    """joules = count x unit, each as low / nominal / high."""

    operation: str
    kind: str
    level: str
    count: int
    cost: str  # key of the Cost
    unit: Range  # joules per event
    source: str
    grade: str
    joules: Range
    note: str  # what else the cost holds


@dataclass(frozen=True, slots=True)
class Included:
    """A count that the cost of another kind pays for."""

    operation: str
    kind: str
    count: int
    cost: str


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A count that nothing pays for."""

    operation: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Priced rows by operation and kind (the static row last), and what is not priced."""

    priced: tuple[Row, ...]
    included: tuple[Included, ...]
    unpriced: tuple[Unpriced, ...]

    def total(self) -> Range:
        """Joules of all rows."""
        return _sum(self.priced)

    def levels(self) -> dict[str, Range]:
        """Cumulative joules: arithmetic; + memory; + network; + rest; + static if time is given."""
        names = [*LEVELS, STATIC] if any(r.level == STATIC for r in self.priced) else list(LEVELS)
        return {
            name: _sum(r for r in self.priced if r.level in names[: i + 1])
            for i, name in enumerate(names)
        }

    def assumed_share(self) -> float:
        """Share of the nominal joules that rests on costs of grade 'assumed'; 0 of nothing."""
        total = self.total().nominal
        assumed = _sum(r for r in self.priced if r.grade == "assumed").nominal
        return assumed / total if total else 0.0

    def rows(self) -> list[dict[str, str | int | float]]:
        """One flat dict per priced row, ready for a table; energies in joules."""
        return [
            {
                "operation": r.operation,
                "kind": r.kind,
                "level": r.level,
                "count": r.count,
                "cost": r.cost,
                "unit_low_j": r.unit.low,
                "unit_j": r.unit.nominal,
                "unit_high_j": r.unit.high,
                "low_j": r.joules.low,
                "energy_j": r.joules.nominal,
                "high_j": r.joules.high,
                "source": r.source,
                "grade": r.grade,
                "note": r.note,
            }
            for r in self.priced
        ]


def static_of(chip: Chip, n_chips: int, seconds: float, streams: int = 1) -> Static:
    """A chip's static power over `seconds` of wall time, shared by `streams` sequences."""
    source, grade = chip.sources["static_power"]
    return Static(n_chips, chip.static_power, seconds, streams, source, grade)


def ledger(
    counts: Mapping[tuple[str, str], int], costs: tuple[Cost, ...], *, static: Static | None = None
) -> Ledger:
    """Price {(operation, kind): count}; zero counts leave no row.

    A covered kind outside `per` is included if its cost is paid anywhere in the ledger,
    else unpriced. Raises Bug for an unknown kind or a count that is negative or no int.
    """
    checked = {key: n for key, n in _checked(counts).items() if n}
    payer = {kind: cost for cost in costs for kind in cost.covers}
    paid = {payer[kind].key for _, kind in checked if kind in payer and kind in payer[kind].per}
    priced: list[Row] = []
    included: list[Included] = []
    unpriced: list[Unpriced] = []
    for operation, kind in sorted(checked, key=lambda key: (key[0], _KIND_ORDER[key[1]])):
        n, cost = checked[operation, kind], payer.get(kind)
        if cost is not None and kind in cost.per:
            priced.append(_row(operation, kind, n, cost))
        elif cost is not None and cost.key in paid:
            included.append(Included(operation, kind, n, cost.key))
        else:
            unpriced.append(Unpriced(operation, kind, n))
    if static is not None:
        priced.append(_static_row(static))
    return Ledger(tuple(priced), tuple(included), tuple(unpriced))


def _checked(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    whole: dict[tuple[str, str], int] = {}
    for (operation, kind), n in counts.items():
        if kind not in KINDS:
            raise Bug(f"no event kind {kind!r}", where=operation)
        try:
            whole[operation, kind] = index(n)
        except TypeError:
            raise Bug(f"count of {kind} is {n!r}, not an int", where=operation) from None
        if n < 0:
            raise Bug(f"count of {kind} is {n}", where=operation)
    return whole


def _row(operation: str, kind: str, n: int, cost: Cost) -> Row:
    others = [k for k in cost.covers if k not in cost.per]
    note = f"includes {', '.join(others)}" if others else ""
    joules = Range(n * cost.energy.low, n * cost.energy.nominal, n * cost.energy.high)
    unit, source, grade = cost.energy, cost.source, cost.grade
    return Row(operation, kind, level_of(kind), n, cost.key, unit, source, grade, joules, note)


def _static_row(static: Static) -> Row:
    n, seconds, streams = static.n_chips, static.seconds, static.streams
    if n < 0 or streams < 1 or seconds < 0 or not isfinite(seconds):
        raise Bug(f"static power of {n} chips over {seconds} s for {streams} streams")
    low, nominal, high = (
        power * seconds / streams
        for power in (static.power_w.low, static.power_w.nominal, static.power_w.high)
    )
    return Row(
        operation="chips",
        kind=STATIC,
        level=STATIC,
        count=n,
        cost="static_power",
        unit=Range(low, nominal, high),
        source=static.source,
        grade=static.grade,
        joules=Range(n * low, n * nominal, n * high),
        note=f"{seconds:g} s, shared by {streams}" if streams > 1 else f"{seconds:g} s",
    )


def _sum(rows: Iterable[Row]) -> Range:
    joules = [row.joules for row in rows]
    return Range(
        fsum(j.low for j in joules), fsum(j.nominal for j in joules), fsum(j.high for j in joules)
    )

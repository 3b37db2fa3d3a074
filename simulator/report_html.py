"""A report as one offline HTML page: no script, no request, charts of plain HTML and CSS."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compiler.activity import Activity
from compiler.operations import layer_kind
from hw_models.cost import Range
from hw_models.files import write_text
from hw_models.ledger import STATIC
from hw_models.si import change, interval, share, si, whole
from simulator.baselines import ON_CHIP
from simulator.linears import SYNOPS
from simulator.page import environment
from simulator.raster import BINS, COLOURS, Raster, png, raster, telling_sites
from simulator.report_data import PhaseReport, Report, by_operation
from simulator.result import Run
from simulator.sampled_rows import sampled_heads, sampled_json, sampled_line, sampled_rows
from simulator.tables import (
    ALL_LEVELS,
    LEVEL_NAMES,
    PricedRow,
    baseline_rows,
    buffer_lines,
    buffer_rows,
    comparisons,
    error_lines,
    error_rows,
    level_rows,
    own_levels,
    priced_rows,
)

LEVEL_WORDS: Final = {
    "arithmetic": "Arithmetic",
    "memory": "Memory",
    "network": "Network",
    "rest": "Vector work",
    "static": "Static power",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart: joules per token by level, none for levels without numbers."""

    label: str
    levels: Mapping[str, float]
    note: str = ""
    span: Range | None = None
    minor: bool = False  # a baseline's line under an operation's

    @property
    def total(self) -> float:
        return sum(self.levels.values())


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines that share one scale."""

    bars: tuple[Bar, ...]

    @property
    def most(self) -> float:
        return max((b.span.high if b.span else b.total for b in self.bars), default=0.0) or 1.0


def render_html(
    report: Report,
    run: Run,
    path: Path,
    *,
    activity: Activity | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the page to `path`, under a temporary name first.

    activity adds the spike rasters. Raises BadInput if the file cannot be written.
    """
    view = _view(report, run, activity, provenance or {})
    templates = environment()
    templates.filters |= {
        "unit": lambda value, unit, digits=3: _micro(si(value, unit, digits)),
        "span": lambda found, unit: _micro(interval(found.low, found.high, unit)),
        "whole": whole,
        "share": share,
        "layers": layer_kind,
    }
    write_text(path, templates.get_template("report.html").render(view))


def _micro(text: str) -> str:
    """'401 uJ' -> '401 µJ'."""
    head, _, unit = text.rpartition(" ")
    return f"{head}\u00a0µ{unit[1:]}" if len(unit) > 1 and unit[0] == "u" else text


def _view(
    report: Report, run: Run, activity: Activity | None, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    # the phase that the headline quotes comes first
    phases = [_phase(p) for p in sorted(report.phases, key=lambda p: p is not report.main)]
    return {
        "report": report,
        "main": report.main,
        "comparisons": comparisons(report.main),
        "change": change,
        "levels": ALL_LEVELS,
        "level_names": LEVEL_NAMES,
        "level_words": LEVEL_WORDS,
        "phases": phases,
        "sources": _sources(phases),
        "rasters": _rasters(report, run, activity),
        "bins": [(colour, _bin(*ends)) for colour, ends in zip(COLOURS, BINS, strict=True)],
        "error": report.analog and (error_rows(report.analog), error_lines(report.analog)),
        "buffers": report.buffers and (buffer_rows(report.buffers), buffer_lines(report.buffers)),
        "sampled": report.sampled and _sampled(sampled_json(report.sampled)),
        "provenance": {key: _words(value) for key, value in provenance.items()},
    }


def _sampled(found: Mapping[str, Any]) -> dict[str, Any]:
    rows = [(name, *(_micro(cell) for cell in cells)) for name, *cells in sampled_rows(found)]
    return {"line": sampled_line(found), "heads": sampled_heads(found), "rows": rows}


def _phase(p: PhaseReport) -> dict[str, Any]:
    usual = [b for b in p.baselines if b.usual]
    return {
        "report": p,
        "totals": _totals(p),
        "operations": _operations(p),
        "levels": level_rows(p),
        "baselines": baseline_rows(p),
        "included": _included(p),
        "static": own_levels(p.ledger, p.tokens).get(STATIC, 0.0),
        "ledger": _largest_first(priced_rows(p.ledger.priced)),
        "baseline_ledgers": [(b, _largest_first(priced_rows(b.ledger.priced))) for b in usual],
    }


def _included(p: PhaseReport) -> list[str]:
    """'weight_fetch (in synop)': counts that the price of another kind holds."""
    return list(dict.fromkeys(f"{i.kind} (in {i.cost})" for i in p.ledger.included))


def _largest_first(rows: list[PricedRow]) -> list[PricedRow]:
    return sorted(rows, key=lambda r: -r.joules.nominal)


def _totals(p: PhaseReport) -> Chart:
    """The run and every baseline's usual variant, as far as each is priced."""
    bars = [Bar("this run", own_levels(p.ledger, p.tokens), span=p.joules_per_token)]
    for b in p.baselines:
        if b.usual:
            note = f"no numbers for {', '.join(b.missing)}" if b.missing else "estimated"
            bars.append(Bar(b.title, own_levels(b.ledger, p.tokens), note))
    return Chart(tuple(bars))


def _operations(p: PhaseReport) -> Chart:
    """Operations by joules, static power apart; under each linear the baselines' way to do it."""
    own = p.by_operation()
    summing = (*SYNOPS, "adc_convert")
    linear = {layer_kind(r.operation) for r in p.ledger.priced if r.kind in summing}
    usual = {b.name: by_operation(b.ledger, p.tokens) for b in p.baselines if b.usual}
    bars: list[Bar] = []
    spent = {op: levels for op, levels in own.items() if STATIC not in levels}
    for operation in sorted(spent, key=lambda op: -sum(spent[op].values())):
        bars.append(Bar(operation, own[operation]))
        bars += [
            Bar(name, found[operation], minor=True)
            for name, found in usual.items()
            if operation in linear & set(found) and name != ON_CHIP
        ]
    return Chart(tuple(bars))


def _sources(phases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Every source cited by a ledger, numbered from 1."""
    rows: list[PricedRow] = []
    for phase in phases:
        rows += phase["ledger"]
        for _, ledger in phase["baseline_ledgers"]:
            rows += ledger
    return {source: i + 1 for i, source in enumerate(dict.fromkeys(r.source for r in rows))}


def _rasters(report: Report, run: Run, activity: Activity | None) -> list[dict[str, Any]]:
    if activity is None:
        return []
    rule = {str(op.get("site")): str(op.get("threshold")) for op in run.operations.values()}
    drawn = [raster(activity, s, report.coding) for s in telling_sites(activity, rule)]
    return [
        {
            "raster": one,
            "image": "data:image/png;base64," + base64.b64encode(png(one)).decode(),
            "prompt": _prompt_share(report, one),
        }
        for one in drawn
    ]


def _prompt_share(report: Report, drawn: Raster) -> float:
    """Percent of the tokens that are prompt; time steps have no end of a prompt to mark."""
    if report.main.unit == "step":
        return 100.0
    return min(100.0, 100.0 * report.prompt_tokens / max(1, drawn.tokens))


def _words(value: Any) -> str:
    """'numpy 2.3, torch 2.13' for a table of versions."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value[key]}" for key in sorted(value))
    return str(value)


def _bin(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low} to {high}"

"""A report as plain JSON: dicts, lists, strings, finite numbers and null."""

from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from hw_models.cost import Range

if TYPE_CHECKING:
    from simulator.baselines import Baseline
    from simulator.report import PhaseReport, Report

FORMAT = "spikeloom-report-1"


def as_json(report: "Report") -> dict[str, Any]:
    """Format spikeloom-report-1; energies in joules, J/token and pJ/MAC stand side by side."""
    skipped = ("phases", "chip", "paper")
    head = {f: getattr(report, f) for f in report.__slots__ if f not in skipped}
    main = report.main
    return _plain(
        {
            "format": FORMAT,
            "headline": {
                "phase": main.name,
                "joules_per_token": main.joules_per_token,
                "pj_per_mac": main.pj_per_mac,
                "watts": main.watts,
                "tokens_per_s": report.tokens_per_s,
                "time_to_first_token_s": report.time_to_first_token_s,
                "chips": report.n_chips,
                "cores": report.n_cores,
                "assumed_share": main.ledger.assumed_share(),
                "unpriced_kinds": sorted({u.kind for u in main.ledger.unpriced}),
            },
            **head,
            "phases": [_phase(p) for p in report.phases],
            "paper": _paper(report),
            "target_resolved": report.chip,
            "rows": report.rows(),
        }
    )


def _phase(p: "PhaseReport") -> dict[str, Any]:
    return {
        "name": p.name,
        "tokens": p.tokens,
        "seconds": p.seconds,
        "macs": p.macs,
        "joules_per_token": p.joules_per_token,
        "pj_per_mac": p.pj_per_mac,
        "watts": p.watts,
        "cumulative_j_per_token": p.levels,
        "by_operation_j_per_token": p.by_operation(),
        "assumed_share": p.ledger.assumed_share(),
        "events": p.events,
        "included": p.ledger.included,
        "unpriced": p.ledger.unpriced,
        "baselines": [_baseline(b, p) for b in p.baselines],
    }


def _baseline(b: "Baseline", p: "PhaseReport") -> dict[str, Any]:
    return {
        "name": b.name,
        "title": b.title,
        "accumulate_bits": b.accumulate_bits,
        "skips_silent": b.skips_silent,
        "priced_j_per_token": b.ledger.total().nominal / p.tokens,
        "priced_pj_per_mac": b.ledger.total().nominal * 1e12 / p.macs,
        "cumulative_j": b.levels(),
        "not_modelled": b.missing,
        "assumes": b.assumes,
        "unpriced": b.ledger.unpriced,
        "by_kind": _by_kind(b),
    }


def _by_kind(b: "Baseline") -> list[dict[str, Any]]:
    """A baseline's rows with operations added up: count x unit cost x source."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in b.ledger.rows():
        kept = {k: v for k, v in row.items() if k not in ("operation", "note")}
        same = found.setdefault((str(row["level"]), str(row["kind"])), kept)
        if same is not kept:
            for key in ("count", "low_j", "energy_j", "high_j"):
                same[key] += row[key]
    return list(found.values())


def _paper(report: "Report") -> dict[str, Any]:
    steps = []
    for step in report.paper.steps:
        row: dict[str, Any] = {"name": step.name, "how": step.how}
        for name, cell in (("paper", step.paper), ("run", step.run)):
            changes = cell and {"vs_fp16": cell.vs_fp16, "vs_int8": cell.vs_int8}
            row[name] = cell and asdict(cell) | changes
        steps.append(row)
    quoted, measured = report.paper.quoted, report.paper.measured
    return {
        "quoted": quoted,
        "measured": measured,
        "steps": steps,
        "sources": report.paper.sources,
    }


def _plain(value: Any) -> Any:
    """Dataclasses and mappings to dicts, sequences to lists, NaN and infinity to None."""
    if isinstance(value, Range):
        return {"low": value.low, "nominal": value.nominal, "high": value.high}
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value

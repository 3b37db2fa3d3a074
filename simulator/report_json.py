"""Parts of a report as plain JSON: dicts, lists, strings, finite numbers and null."""

from dataclasses import asdict, is_dataclass
from math import isfinite
from typing import Any

from simulator.baselines import Baseline
from simulator.paper import PaperTable


def baseline_json(b: Baseline, tokens: int, macs: int) -> dict[str, Any]:
    """A baseline of a phase with so many tokens and dense MACs; rows added up by kind."""
    return {
        "name": b.name,
        "title": b.title,
        "accumulate_bits": b.accumulate_bits,
        "skips_silent": b.skips_silent,
        "priced_j_per_token": b.ledger.total().nominal / tokens,
        "priced_pj_per_mac": b.ledger.total().nominal * 1e12 / macs,
        "cumulative_j": b.levels(),
        "not_modelled": b.missing,
        "assumes": b.assumes,
        "unpriced": b.ledger.unpriced,
        "by_kind": _by_kind(b),
    }


def _by_kind(b: Baseline) -> list[dict[str, Any]]:
    """A baseline's rows with operations added up: count x unit cost x source."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in b.ledger.rows():
        kept = {k: v for k, v in row.items() if k not in ("operation", "note")}
        same = found.setdefault((str(row["level"]), str(row["kind"])), kept)
        if same is not kept:
            for key in ("count", "low_j", "energy_j", "high_j"):
                same[key] += row[key]
    return list(found.values())


def paper_json(table: PaperTable) -> dict[str, Any]:
    """The first table, with the changes against FP16 and INT8 as fractions."""
    steps = []
    for step in table.steps:
        row: dict[str, Any] = {"name": step.name, "how": step.how}
        for name, cell in (("paper", step.paper), ("run", step.run)):
            changes = cell and {"vs_fp16": cell.vs_fp16, "vs_int8": cell.vs_int8}
            row[name] = cell and asdict(cell) | changes
        steps.append(row)
    return {
        "quoted": table.quoted,
        "measured": table.measured,
        "steps": steps,
        "sources": table.sources,
    }


def plain(value: Any) -> Any:
    """Dataclasses and mappings to dicts, sequences to lists, NaN and infinity to None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value

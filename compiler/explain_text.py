"""An explained operation as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hw_models.si import share, si, size

LISTED = 8
"""Chips, tile shapes and nets that are named one by one."""

_SIZES = {"synapse memory", "state memory"}


def render_explained(found: Mapping[str, Any], out: Console) -> None:
    """Print what explain() tells."""
    out.print(f"[bold]{escape(found['operation'])}[/]: {escape(found['why'])}")
    table = Table(box=None, show_header=False)
    for name, value in _facts(found):
        table.add_row(name, escape(value))
    out.print(table)
    events = Table(box=box.SIMPLE_HEAD)
    for name in (f"expected event per {found['unit']}", "number", "energy"):
        events.add_column(name, justify="left" if name.startswith("expected") else "right")
    for row in found["events"]:
        events.add_row(row["kind"], f"{row['number']:,.0f}", _price(row))
    if found["events"]:
        out.print(events)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "runs", f"{found['where']} ({found['kind']})"
    if "site" in found:
        coded = f", {found['coding']}" if "coding" in found else ""
        yield "site", f"{found['site']}{coded}"
    chips = [f"{row['chip']} ({row['cores']:,})" for row in found["chips"]]
    if chips:
        yield "cores", f"{found['n_cores']:,}, on chips (cores) {_some(chips)}"
    tiles = [f"{t['times']:,} of {t['inputs']:,} x {t['neurons']:,}" for t in found["tiles"]]
    if tiles:
        yield "tiles", f"{_some(tiles)} inputs x neurons"
    needs = [f"{name} {_amount(name, n)}" for name, n in found["needs"].items() if n]
    if needs:
        yield "needs", ", ".join(needs)
    full = [
        f"{name} {share(use['used'] / use['limit'])} of {_amount(name, use['limit'])}"
        for name, use in found["fullest_core"].items()
    ]
    if full:
        yield "its fullest core", ", ".join(full)
    each = f"per {found['unit']}"
    some = "" if found["share"] == 1 else " that runs it"
    if some:
        yield "runs for", f"{share(found['share'])} of all {found['unit']}s, expected"
    if found["macs"]:
        yield "MACs of the dense model", f"{found['macs']:,} {each}{some}"
    yield "its busiest core", f"{si(found['busy_ps'] * 1e-12, 's')} {each}, expected"
    yield "energy", f"{si(found['energy_j'], 'J')} {each}, expected, static power left out"
    for title in ("receives", "sends"):
        nets = [f"{row['operation']} ({row['message']}, {_bits(row)})" for row in found[title]]
        if nets:
            yield title, _some(nets)


def _price(row: Mapping[str, Any]) -> str:
    if row["energy_j"] is not None:
        return si(row["energy_j"], "J")
    return f"in {row['paid_by']}" if row["paid_by"] else "not priced"


def _bits(row: Mapping[str, Any]) -> str:
    return si(row["bits"], "bit") if row["bits"] else "on the same core"


def _some(words: Sequence[str]) -> str:
    more = len(words) - LISTED
    return ", ".join(words[:LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _amount(name: str, n: int) -> str:
    return size(n) if name in _SIZES else f"{n:,}"

"""The numbers of a map: how full the cores are, what travels, which links are busiest."""

from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hw_models.events import LINKS, MESSAGES
from hw_models.mesh import STEP, Mesh
from hw_models.si import share, si, whole
from simulator.map_data import F64, Floorplan

WIDTH = 100
BUSIEST = 12
"""Links that the list shows."""

BETWEEN = {
    "chip": ("chip_x", "chip_y"),
    "mesh": ("x", "y"),
    "host": ("host",),
}
"""Kinds of links by what they join."""


def summary(plan: Floorplan) -> dict[str, Any]:
    """Plain JSON values. Bits are expected, per decoded token or step (unit); memories in bytes."""
    program = plan.program
    bits = {name: _bits(plan, name) for name in BETWEEN}
    return {
        "model": program.graph.model,
        "profile": program.graph.profile,
        "target": program.chip.name,
        "title": program.chip.title,
        "unit": program.graph.unit,
        "coding": program.coding,
        "k": program.k,
        "has_weights": program.has_weights,
        "n_cores": program.n_cores,
        "n_chips": program.n_chips,
        "n_links": {name: int((found > 0).sum()) for name, found in bits.items()},
        "max_streams": program.max_streams,
        "macs_per_token": program.graph.macs(),
        "bounds": {name: dict(row) for name, row in program.bounds.items()},
        "occupancy": _occupancy(plan),
        "rates_from": str(program.statistics.get("origin", "")),
        "messages_sent": _by_class(plan.cores.sent.sum(axis=1)),
        "messages_received": _by_class(plan.cores.received.sum(axis=1)),
        "bits_on_links": {name: float(found.sum()) for name, found in bits.items()},
        "busiest_links": busiest_links(plan),
    }


def _by_class(counts: F64) -> dict[str, float]:
    """{class of messages: number}, without those that there are none of."""
    return {kind: float(n) for kind, n in zip(MESSAGES, counts, strict=True) if n}


def _bits(plan: Floorplan, name: str) -> F64:
    """Of every link of some kinds."""
    kinds = [LINKS.index(kind) for kind in BETWEEN[name]]
    return plan.links.bits[np.isin(plan.links.kind, kinds)]


def _occupancy(plan: Floorplan) -> dict[str, dict[str, Any]]:
    """{resource: {its limit, most of one core (or router), and both mean and most as shares}}."""
    return {
        limit.resource: {
            "limit": limit.most,
            "of": limit.of,
            "most": int(used.max()),
            "mean_share": float(used.mean()) / limit.most,
            "most_share": float(used.max()) / limit.most,
        }
        for limit, used in zip(plan.limits, plan.cores.used[:, :-1], strict=True)
    }


def busiest_links(plan: Floorplan) -> list[dict[str, Any]]:
    """Links between chips by their bits, or those of the mesh where there is one chip only."""
    between = next((n for n in ("chip", "mesh") if _bits(plan, n).size), "host")
    kinds = [LINKS.index(kind) for kind in BETWEEN[between]]
    mine = np.flatnonzero(np.isin(plan.links.kind, kinds))
    order = mine[np.lexsort((mine, -plan.links.bits[mine]))][:BUSIEST]
    mesh = plan.program.mesh
    return [
        {
            "link": int(plan.links.number[i]),
            "where": link_words(mesh, int(plan.links.number[i])),
            "bits": float(plan.links.bits[i]),
        }
        for i in order
    ]


def link_words(mesh: Mesh, link: int) -> str:
    """'chip (3, 0) to chip (2, 0)'; places are (column, row)."""
    if link == mesh.host_in:
        return "host to chip (0, 0)"
    if link == mesh.host_out:
        return "chip (0, 0) to host"
    if link < mesh.first_mesh_link:
        return f"core {link} to its router"
    at, side = divmod(link - mesh.first_mesh_link, 4)
    dx, dy = STEP[side]
    if link >= mesh.first_chip_link:
        y, x = divmod(at - mesh.n_routers, mesh.chips_w)
        return f"chip ({x}, {y}) to chip ({x + dx}, {y + dy})"
    y, x = divmod(at, mesh.width)
    chip = f"chip ({x // mesh.chip_w}, {y // mesh.chip_h})"
    x, y = x % mesh.chip_w, y % mesh.chip_h
    return f"{chip}, router ({x}, {y}) to ({x + dx}, {y + dy})"


def render(found: dict[str, Any], console: Console | None = None) -> None:
    """Print a summary; without a console to standard output, WIDTH columns at most."""
    out = console or Console(highlight=False)
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    names = f"profile {found['profile']}, {found['coding']}"
    if found["unit"] == "token":
        names += f", k = {found['k']:g}"
    title = f"{found['model']} on {found['target']} ({names})"
    out.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    table = Table(box=None, show_header=False)
    for name, value in totals(found):
        table.add_row(name, value)
    out.print(table)
    out.print(_table("How full the cores are", ("", "mean", "most", "limit"), _full(found)))
    links = ((row["where"], si(row["bits"], "bit")) for row in found["busiest_links"])
    out.print(_table(f"Busiest links (expected, per {found['unit']})", ("", "bits"), links))


def totals(found: dict[str, Any]) -> list[tuple[str, str]]:
    """(what, value) in words."""
    on, each = found["bits_on_links"], f"per {found['unit']}"
    rows = [("chips, cores", f"{whole(found['n_chips'])}, {whole(found['n_cores'])}")]
    if on["chip"]:
        rows.append(("bits on chip links", f"{si(on['chip'], 'bit')} {each}"))
    rows.append(("bits x links of the mesh", f"{si(on['mesh'], 'bit')} {each}"))
    sent, got = found["messages_sent"], found["messages_received"]
    for kind, n in sent.items():
        cores = f"{got.get(kind, 0) / n:.1f} cores each"
        rows.append((f"{kind} messages", f"{whole(n)} {each}, to {cores}"))
    return rows


def _full(found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (name, share(row["mean_share"]), share(row["most_share"]), whole(row["limit"]))
        for name, row in found["occupancy"].items()
    ]


def _table(title: str, columns: tuple[str, ...], rows: Any) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    return table

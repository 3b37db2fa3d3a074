"""What a mapping came to: cores, chips, memory, distance from the lower bounds, and where
every operation runs."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compiler.operations import layers_folded, operations
from compiler.program import Program

WIDTH = 100

_NO_WEIGHTS = "none: mapped from a config alone, cannot be run"
_TEXT = {
    "tokenizer": "by the model's tokenizer.json",
    "bytes": "bytes are token ids",
    "ids": "none: no tokenizer.json came with the model, prompts are --token-ids",
}
"""How text becomes token ids, by compiler.text.Text.kind."""


def summary(program: Program) -> dict[str, Any]:
    """The mapping as plain JSON values; sizes in bytes, macs of the dense model per token."""
    chip = program.chip
    weights = sum(linear.n_pre * linear.n_post for linear in program.graph.linears)
    return {
        "model": program.graph.model,
        "profile": program.graph.profile,
        "target": chip.name,
        "title": chip.title,
        "target_sha256": chip.text_hash,
        "coding": program.coding,
        "k": program.k,
        "has_weights": program.has_weights,
        "program_sha256": program.hash,
        "n_cores": program.n_cores,
        "n_chips": program.n_chips,
        "max_streams": program.max_streams,
        "macs_per_token": program.graph.macs(),
        "synapse_bytes": weights,  # int8
        "synapse_memory_bytes": program.n_cores * chip.core.synapse_memory,
        "arrays": _arrays(program, weights),
        "bounds": {name: dict(values) for name, values in program.bounds.items()},
        "statistics": dict(program.statistics),
        "text": program.text.kind,
        "prompt_tokens": len(program.prompt.ids),
        "tokens": program.prompt.tokens,
        "operations": operations(program),
    }


def _arrays(program: Program, weights: int) -> dict[str, Any] | None:
    """Crossbar arrays in use, and the share of their cells that hold weights."""
    array = program.chip.array
    if array is None:
        return None
    n = int(program.bounds["arrays by cells"]["achieved"])
    cells = weights * array.columns_per_weight
    share = cells / (n * array.rows * array.columns)
    return {"n": n, "rows": array.rows, "columns": array.columns, "utilisation": share}


def render(found: dict[str, Any], console: Console | None = None) -> None:
    """Print a summary; without a console to standard output, WIDTH columns at most."""
    out = console or Console(highlight=False)
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    names = f"profile {found['profile']}, {found['coding']}, k = {found['k']:g}"
    title = f"{found['model']} on {found['target']} ({names})"
    out.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    out.print(_totals(found))
    out.print(_bounds(found))
    out.print(_operations(found))


def _totals(found: dict[str, Any]) -> Table:
    used, have = found["synapse_bytes"], found["synapse_memory_bytes"]
    table = Table(box=None, show_header=False)
    arrays, cells = found["arrays"], []
    if arrays is not None:
        size = f"{arrays['n']:,} of {arrays['rows']} x {arrays['columns']} cells"
        cells = [("crossbar arrays", f"{size}, {arrays['utilisation']:.1%} of them in use")]
    for name, value in (
        ("chips, cores", f"{found['n_chips']:,}, {found['n_cores']:,}"),
        ("synapse memory", f"{_size(used)} of {_size(have)} on these cores ({used / have:.1%})"),
        *cells,
        ("MACs of the dense model", f"{found['macs_per_token']:,} per token"),
        ("streams at once", f"at most {found['max_streams']:,}"),
        ("weights", "in the program" if found["has_weights"] else _NO_WEIGHTS),
        ("prompt", f"{found['prompt_tokens']:,} tokens, then {found['tokens']:,} decoded"),
        ("text", _TEXT[found["text"]]),
    ):
        table.add_row(name, value)
    return table


def _bounds(found: dict[str, Any]) -> Table:
    table = _table("Lower bounds: no mapping of these tiles can use fewer")
    for name in ("", "achieved", "bound", "achieved / bound"):
        table.add_column(name, justify="right" if name else "left")
    for name, row in found["bounds"].items():
        least, achieved = row["bound"], row.get("achieved")
        table.add_row(
            name,
            f"{achieved:,}" if achieved is not None else "",
            f"{least:,}",
            f"{row['ratio']:.3f}" if "ratio" in row else "",
        )
    return table


def _operations(found: dict[str, Any]) -> Table:
    table = _table("How each operation runs (layers added up; operations share cores)")
    table.add_column("operation")
    table.add_column("times", justify="right")
    table.add_column("cores", justify="right")
    table.add_column("MACs/token", justify="right")
    table.add_column("runs")
    table.add_column("why")
    for row in layers_folded(found["operations"]):
        table.add_row(
            row["operation"],
            str(row["layers"]),
            f"{row['n_cores']:,}",
            f"{row['macs']:,}" if row["macs"] else "",
            row["where"],
            row["why"],
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _size(n_bytes: int) -> str:
    """'1.6 MiB'."""
    size, units = float(n_bytes), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.4g} {units[0]}"

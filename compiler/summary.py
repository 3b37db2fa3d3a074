"""What a mapping came to: cores, chips, memory, distance from the lower bounds, and where
every operation runs."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compiler.forecast import Forecast, forecast
from compiler.graph import outputs
from compiler.operations import layers_folded, operations
from compiler.program import Program
from hw_models.si import interval, si, size

WIDTH = 100

_NO_WEIGHTS = "none in this program: sbsim run --workload profile counts without"
_TEXT = {
    "tokenizer": "by the model's tokenizer.json",
    "bytes": "bytes are token ids",
    "ids": "none: no tokenizer.json came with the model, prompts are --token-ids",
}
"""How text becomes token ids, by compiler.text.Text.kind."""


def summary(program: Program, found: Forecast | None = None) -> dict[str, Any]:
    """The mapping as plain JSON values; sizes in bytes, macs of the dense model per token.

    A network that takes spikes has time steps for tokens, and input channels for a prompt.
    found: the program's forecast, if there is one already.
    """
    chip = program.chip
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
        "synapse_bytes": _synapses(program),  # int8
        "synapse_memory_bytes": program.n_cores * chip.core.synapse_memory,
        "arrays": _arrays(program),
        "bounds": {name: dict(values) for name, values in program.bounds.items()},
        "expected": _expected(found or forecast(program)),
        "statistics": dict(program.statistics),
        **_input(program),
        "operations": operations(program),
    }


def _synapses(program: Program) -> int:
    return sum(linear.synapses for linear in program.graph.linears)


def _input(program: Program) -> dict[str, Any]:
    """What the program starts from: a prompt, or spikes on so many channels."""
    prompt = program.prompt
    return {
        "unit": program.graph.unit,
        "text": prompt and program.text.kind,
        "prompt_tokens": prompt and len(prompt.ids),
        "tokens": prompt and prompt.tokens,
        "input_channels": None if prompt else outputs(program.graph.stages[0]),
    }


def _expected(found: Forecast) -> dict[str, Any]:
    """Per decoded token of one sequence, before any run (compiler.forecast)."""
    pace = found.pace
    return {
        "energy_j": {
            name: {"low": j.low, "nominal": j.nominal, "high": j.high}
            for name, j in found.levels().items()
        },
        "at_least_s": pace.token_ps * 1e-12,
        "busiest_s": pace.busiest_ps * 1e-12,
        "steps": pace.steps,
    }


def _arrays(program: Program) -> dict[str, Any] | None:
    """Crossbar arrays in use, and the share of their cells that hold weights."""
    array = program.chip.array
    if array is None:
        return None
    n = int(program.bounds["arrays by cells"]["achieved"])
    cells = _synapses(program) * array.columns_per_weight
    share = cells / (n * array.rows * array.columns)
    return {"n": n, "rows": array.rows, "columns": array.columns, "utilisation": share}


def console() -> Console:
    """Standard output, WIDTH columns at most."""
    out = Console(highlight=False)
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    return out


def render(found: dict[str, Any], out: Console) -> None:
    """Print a summary."""
    names = f"profile {found['profile']}, {found['coding']}"
    if found["unit"] == "token":
        names += f", k = {found['k']:g}"
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
        shape = f"{arrays['n']:,} of {arrays['rows']} x {arrays['columns']} cells"
        cells = [("crossbar arrays", f"{shape}, {arrays['utilisation']:.1%} of them in use")]
    for name, value in (
        ("chips, cores", f"{found['n_chips']:,}, {found['n_cores']:,}"),
        ("synapse memory", f"{size(used)} of {size(have)} on these cores ({used / have:.1%})"),
        *cells,
        ("MACs of the dense model", f"{found['macs_per_token']:,} per {found['unit']}"),
        ("streams at once", f"at most {found['max_streams']:,}"),
        *_expectations(found["expected"], found["unit"]),
        ("weights", "in the program" if found["has_weights"] else _NO_WEIGHTS),
        *_starts_from(found),
    ):
        table.add_row(name, value)
    return table


def _expectations(expected: dict[str, Any], unit: str) -> list[tuple[str, str]]:
    *_, joules = expected["energy_j"].values()
    limits = interval(joules["low"], joules["high"], "J")
    steps = f", {expected['steps']:.0f} steps" if expected["steps"] else ""
    return [
        (
            "expected energy",
            f"{si(joules['nominal'], 'J')} ({limits}) per {unit}",
        ),
        (
            "expected time",
            f"at least {si(expected['at_least_s'], 's')} per {unit}{steps}; "
            f"the busiest core or link {si(expected['busiest_s'], 's')}",
        ),
    ]


_FIRST = ("cores", "chips", "arrays by cells", "bits on chip links")


def _starts_from(found: dict[str, Any]) -> list[tuple[str, str]]:
    """What `sbsim run` takes."""
    if found["unit"] == "step":
        return [("input", f"{found['input_channels']:,} channels of 0 and 1 per step: --spikes")]
    prompt = f"{found['prompt_tokens']:,} tokens, then {found['tokens']:,} decoded"
    return [("prompt", prompt), ("text", _TEXT[found["text"]])]


def _bounds(found: dict[str, Any]) -> Table:
    unit = "decoded token" if found["unit"] == "token" else found["unit"]
    table = _table(f"Lower bounds for every mapping on this target (bits per {unit})")
    for name in ("", "achieved", "bound", "achieved / bound"):
        table.add_column(name, justify="right" if name else "left")
    rows = found["bounds"]
    order = [name for name in _FIRST if name in rows]
    order += [name for name in rows if name not in order and "achieved" in rows[name]]
    order += [name for name in rows if name not in order]
    for name in order:
        row = rows[name]
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
    table.add_column(f"MACs/{found['unit']}", justify="right")
    table.add_column("runs")
    table.add_column("why")
    for row in layers_folded(found["operations"]):
        table.add_row(
            escape(row["operation"]),
            str(row["layers"]),
            f"{row['n_cores']:,}",
            f"{row['macs']:,}" if row["macs"] else "",
            row["where"],
            row["why"],
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)

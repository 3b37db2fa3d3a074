"""What `sbsim run` prints: the text, how fast it came, and what a token costs on the chip."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hw_models.si import interval, share, si, whole
from simulator.build_report import build_report
from simulator.report_text import steps_row
from simulator.result import Run
from simulator.sampled_rows import sampled_heads, sampled_line, sampled_rows

_SHOWN = 20  # outputs
_HEAD = ("model", "target", "profile", "coding", "k", "program_hash", "sync", "workload")


def outcome(run: Run) -> dict[str, Any]:
    """Plain JSON values: seconds, and joules and watts of the simulated chips."""
    found = build_report(run, ()).to_json()
    if run.unit == "step":
        return _steps(run, found)
    return {
        **{name: found[name] for name in _HEAD},
        "text": run.text,
        "prompt": list(run.prompt),
        "prompt_tokens": found["prompt_tokens"],
        "counts_from": run.counts_from,
        "generated": list(run.generated),
        **found["headline"],
        "events": dict(run.events),
        "analog": found["analog"],
        "sampled": found["sampled"],
        **_traced(run, found),
    }


def _steps(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """The same of a network of spiking neurons: what came out, and per step what it took."""
    head = {name: found[name] for name in _HEAD if name != "k"}
    phase, headline = run.phases[0], found["headline"]
    seconds = (phase.end_ps - phase.start_ps) * 1e-12
    renamed = {
        "joules_per_token": "joules_per_step",
        "tokens_per_s": "steps_per_s",
        "steps_per_token": "barriers_per_step",
    }
    return {
        **head,
        "steps": phase.tokens,
        "counts_from": run.counts_from,
        "outputs": [int(x) if run.outputs_are == "spikes" else x for x in run.outputs],
        "outputs_are": run.outputs_are,
        "class": run.winner,
        "seconds": seconds,
        "seconds_per_step": seconds / phase.tokens,
        **{
            renamed.get(k, k): v
            for k, v in headline.items()
            if k not in ("time_to_first_token_s", "phase")
        },
        "time_to_first_output_s": headline["time_to_first_token_s"],
        "events": dict(run.events),
        "analog": found["analog"],
        **_traced(run, found),
    }


def _traced(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    if run.trace is None:
        return {}
    return {"trace": {**found["trace"], "left_out": run.trace.left_out}}


def render(found: dict[str, Any], console: Console | None = None) -> None:
    """Print an outcome and its `run_dir`; without a console to standard output."""
    out = console or Console(highlight=False)
    table = Table(box=None, show_header=False)
    rows = _step_rows(found) if "steps" in found else _text_rows(found, out)
    counted = [(f"workload {found['workload']}", printable(found["counts_from"]))]
    for name, value in (
        *(counted if found["counts_from"] else ()),
        *rows,
        ("power of all chips", _span(found["watts"], "W")),
        ("chips, cores", f"{whole(found['chips'])}, {whole(found['cores'])}"),
        *((("analog error", _analog(found["analog"])),) if found["analog"] else ()),
    ):
        table.add_row(name, value)
    out.print(table)
    if found.get("sampled"):
        out.print(_sampled(found["sampled"]))
    for line in found.get("trace", {}).get("left_out", ()):
        out.print(f"[bold red]the trace is not complete:[/] {escape(line)}", soft_wrap=True)
    out.print(f"wrote {found['run_dir']}", markup=False, soft_wrap=True)


def _sampled(found: dict[str, Any]) -> Table:
    table = Table(title=sampled_line(found), title_justify="left", box=box.SIMPLE_HEAD)
    for i, head in enumerate(("", *sampled_heads(found))):
        table.add_column(head, justify="right" if i else "left", overflow="fold")
    for row in sampled_rows(found):
        table.add_row(*row)
    return table


def _analog(error: dict[str, Any]) -> str:
    """'sums off by 18.0 % (RMS, layers.0.gate_up); KL 0.026 nats, same top token 93.8 %'."""
    name, worst = max(error["linears"].items(), key=lambda item: item[1]["rms"])
    if not worst["rms"]:
        return "none: every sum is exact"
    same = share(error["same_top"])
    sums = f"sums off by {share(worst['rms'])} (RMS, {name})"
    return f"{sums}; KL {error['kl']:.3g} nats, same top token {same}"


def _text_rows(found: dict[str, Any], out: Console) -> list[tuple[str, str]]:
    """The text comes before the table."""
    if found["workload"] == "functional":
        out.print(printable(found["text"]), markup=False, soft_wrap=True)
        out.print()
    first = f"{si(found['time_to_first_token_s'], 's')} ({found['prompt_tokens']} tokens of prompt)"
    windows = found["sampled"] and len(found["sampled"]["windows"])
    of = f", {windows} windows" if windows else ""
    return [
        ("time to first token", first),
        (f"rate{of}", si(found["tokens_per_s"], "token/s")),
        *steps_row(found["steps_per_token"], found["barrier_share"]),
        (f"energy per token ({found['phase']}{of})", _span(found["joules_per_token"], "J")),
    ]


def _step_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    outputs, spiking = found["outputs"], found["outputs_are"] == "spikes"
    shown = [f"{x:.4g}" for x in outputs[:_SHOWN]]
    more = f" ... ({len(outputs)} in all)" if len(outputs) > _SHOWN else ""
    winner = "none: no output neuron spiked" if found["class"] is None else str(found["class"])
    computed = [
        ("class", winner),
        ("output spikes" if spiking else "mean outputs", " ".join(shown) + more),
    ]
    return [
        *(() if found["counts_from"] else computed),
        ("time", f"{si(found['seconds'], 's')} ({found['steps']} steps)"),
        ("time per step", si(found["seconds_per_step"], "s")),
        *steps_row(found["barriers_per_step"], found["barrier_share"], "step"),
        ("energy per step", _span(found["joules_per_step"], "J")),
    ]


def printable(text: str) -> str:
    """The text with control characters escaped: a model may write any byte, also to a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def _span(found: dict[str, float], unit: str) -> str:
    if found["low"] == found["high"]:
        return si(found["nominal"], unit)
    return f"{si(found['nominal'], unit)} ({interval(found['low'], found['high'], unit)})"

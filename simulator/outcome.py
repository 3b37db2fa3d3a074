"""What `sbsim run` prints: the text, how fast it came, and what a token costs on the chip."""

from typing import Any

from rich.console import Console
from rich.table import Table

from hw_models.si import interval, share, si, whole
from simulator.build_report import build_report
from simulator.report_text import steps_row
from simulator.result import Run

_HEAD = ("model", "target", "profile", "coding", "k", "program_hash", "sync")


def outcome(run: Run) -> dict[str, Any]:
    """Plain JSON values: seconds, and joules and watts of the simulated chips."""
    found = build_report(run, ()).to_json()
    return {
        **{name: found[name] for name in _HEAD},
        "text": run.text,
        "prompt": list(run.prompt),
        "generated": list(run.generated),
        **found["headline"],
        "events": dict(run.events),
        "analog": found["analog"],
    }


def render(found: dict[str, Any], console: Console | None = None) -> None:
    """Print an outcome and its `run_dir`; without a console to standard output."""
    out = console or Console(highlight=False)
    out.print(printable(found["text"]), markup=False, soft_wrap=True)
    out.print()
    first = f"{si(found['time_to_first_token_s'], 's')} ({len(found['prompt'])} tokens of prompt)"
    table = Table(box=None, show_header=False)
    for name, value in (
        ("time to first token", first),
        ("rate", si(found["tokens_per_s"], "token/s")),
        *steps_row(found["steps_per_token"], found["barrier_share"]),
        (f"energy per token ({found['phase']})", _span(found["joules_per_token"], "J")),
        ("power of all chips", _span(found["watts"], "W")),
        ("chips, cores", f"{whole(found['chips'])}, {whole(found['cores'])}"),
        *((("analog error", _analog(found["analog"])),) if found["analog"] else ()),
    ):
        table.add_row(name, value)
    out.print(table)
    out.print(f"wrote {found['run_dir']}", markup=False, soft_wrap=True)


def _analog(error: dict[str, Any]) -> str:
    """'sums off by 18.0 % (RMS, layers.0.gate_up); KL 0.026 nats, same top token 93.8 %'."""
    name, worst = max(error["linears"].items(), key=lambda item: item[1]["rms"])
    if not worst["rms"]:
        return "none: every sum is exact"
    same = share(error["same_top"])
    sums = f"sums off by {share(worst['rms'])} (RMS, {name})"
    return f"{sums}; KL {error['kl']:.3g} nats, same top token {same}"


def printable(text: str) -> str:
    """The text with control characters escaped: a model may write any byte, also to a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def _span(found: dict[str, float], unit: str) -> str:
    if found["low"] == found["high"]:
        return si(found["nominal"], unit)
    return f"{si(found['nominal'], unit)} ({interval(found['low'], found['high'], unit)})"

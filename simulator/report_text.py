"""A report as terminal tables, at most 100 columns wide; plain text when not a terminal."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hw_models.cost import Range
from hw_models.si import change, interval, share, si, whole
from simulator.paper import Cell
from simulator.report_data import PhaseReport, Report
from simulator.result import AnalogError, Buffers
from simulator.sampled_rows import sampled_heads, sampled_json, sampled_line, sampled_rows
from simulator.tables import (
    baseline_rows,
    buffer_lines,
    buffer_rows,
    comparisons,
    error_lines,
    error_rows,
    level_rows,
    operation_rows,
)

WIDTH = 100


def render_text(report: Report, console: Console | None = None) -> None:
    """Print a report; without a console to standard output, WIDTH columns at most."""
    out = console or Console(highlight=False)
    if not out.is_terminal or out.width > WIDTH:
        out.width = WIDTH
    names = f"profile {report.profile}, {report.coding}"
    if report.main.unit == "token":
        names += f", k = {report.k:g}"
    if report.workload != "functional":
        names += f", workload {report.workload}"
    out.print(f"[bold]{escape(f'{report.model} on {report.target} ({names})')}[/]")
    out.print(_headline(report))
    if report.trace:
        _list(
            out, "The run's trace is not complete; counters and joules are", report.trace.left_out
        )
    if report.sampled:
        found = sampled_json(report.sampled)
        out.print(_table(sampled_line(found), ("", *sampled_heads(found)), sampled_rows(found)))
    out.print(_paper(report))
    for phase in report.phases:
        out.print(_levels(phase))
    out.print(_operations(report.main))
    if report.main.baselines:
        out.print(_baselines(report.main))
    if report.analog:
        out.print(_analog(report.analog))
        lines = (f"{name}: {value}" for name, value in error_lines(report.analog))
        _list(out, "Analog error of the whole run", lines)
    out.print(_events(report))
    if report.buffers:
        out.print(_buffers(report.buffers))
        _list(out, "Queues", (f"{name}: {n}" for name, n in buffer_lines(report.buffers)))
    out.print(_density(report))
    _list(out, "Not priced", _unpriced(report))
    _list(out, "To know before quoting these numbers", report.assumptions)


def span(found: Range, unit: str) -> str:
    """'401 uJ (252 uJ .. 586 uJ)'; one number where the ends agree."""
    if found.low == found.high:
        return si(found.nominal, unit)
    return f"{si(found.nominal, unit)} ({interval(found.low, found.high, unit)})"


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """First column left, the others right; every cell is plain text."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _headline(r: Report) -> Table:
    main, unit = r.main, r.main.unit
    first = f" ({r.prompt_tokens} tokens)" if unit == "token" else ""
    of = f", {len(r.sampled.windows)} windows" if r.sampled else ""
    table = Table(box=None, show_header=False)
    for name, value in (
        (f"energy per {unit} ({main.name}{of})", span(main.joules_per_token, "J")),
        ("energy per dense MAC", span(_joules(main.pj_per_mac), "J")),
        (f"rate of one stream{of}", si(r.tokens_per_s, f"{unit}/s")),
        (f"time to first {unit}", si(r.time_to_first_token_s, "s") + first),
        ("power of all chips", span(main.watts, "W")),
        ("chips, cores", f"{whole(r.n_chips)}, {whole(r.n_cores)}"),
        *steps_row(main.steps_per_token, main.barrier_share, unit),
        ("streams", f"{r.streams} (at most {r.max_streams})"),
        ("joules on assumed costs", share(main.ledger.assumed_share())),
    ):
        table.add_row(name, value)
    for found in comparisons(main):
        ratio = change(found.joules, found.baseline)
        table.add_row(f"against {found.name}", f"{ratio} (up to level '{found.level}')")
    return table


def steps_row(per_token: float, share_of_time: float, unit: str = "token") -> list[tuple[str, str]]:
    """A line about the steps of barrier sync; none where there were none."""
    if not per_token:
        return []
    time = f"{share(share_of_time)} of the time in barriers"
    what = "steps per token" if unit == "token" else "barriers per step"
    return [(what, f"{per_token:.1f} ({time})")]


def _joules(pj: Range) -> Range:
    return Range(pj.low * 1e-12, pj.nominal * 1e-12, pj.high * 1e-12)


def _paper(r: Report) -> Table:
    def cells(cell: Cell | None) -> list[str]:
        if cell is None:
            return ["-", "-", "-"]
        return [
            f"{cell.spiking_pj:.3g}",
            change(cell.spiking_pj, cell.fp16_pj),
            change(cell.spiking_pj, cell.int8_pj),
        ]

    columns = ("pJ per MAC", "paper", "FP16", "INT8", "this run", "FP16", "INT8")
    rows = [(s.name, *cells(s.paper), *cells(s.run)) for s in r.paper.steps]
    return _table("SpikingBrain's own arithmetic, and what is left of it", columns, rows)


def _levels(phase: PhaseReport) -> Table:
    table = level_rows(phase)
    columns = ("added up", f"J/{phase.unit}", "low .. high", "pJ/MAC", *table.baselines)
    rows = [
        (
            row.name,
            si(row.total.nominal, "J"),
            interval(row.total.low, row.total.high, "J"),
            f"{row.pj_per_mac:.3g}",
            *(_or_not(j) for j in row.baselines),
        )
        for row in table.rows
    ]
    head = f"{phase.name}: {whole(phase.tokens)} {phase.unit}s in {si(phase.seconds, 's')}"
    return _table(f"{head} (n/a: the device has no numbers for it)", columns, rows)


def _or_not(joules: float | None) -> str:
    return "n/a" if joules is None else si(joules, "J")


def _baselines(phase: PhaseReport) -> Table:
    found = baseline_rows(phase)
    rows = [
        (
            b.format,
            f"{b.sums} bit",
            "yes" if b.skips_silent else "no",
            *(_or_not(j) for j in (b.arithmetic, b.memory, b.network, b.rest, b.static)),
            si(b.joules, "J"),
            f"{b.pj_per_mac:.3g}",
        )
        for b in found
    ]
    columns = ("", "sums", "skips", "arithm.", "memory", "network", "vector", "static", "sum")
    table = _table(
        f"{phase.name}: the same {phase.unit}s without spikes, J/{phase.unit} "
        "(skips: silent channels)",
        (*columns, "pJ/MAC"),
        rows,
    )
    gaps = dict.fromkeys(b.left_out for b in found if b.left_out)
    table.caption = escape("; ".join(f"no price for: {gap}" for gap in gaps))
    table.caption_justify = "left"
    return table


def _operations(phase: PhaseReport) -> Table:
    rows = [
        (row.operation, si(row.joules, "J"), share(row.share), row.largest)
        for row in operation_rows(phase)
    ]
    columns = ("operation (layers added up)", f"J/{phase.unit}", "share", "mostly")
    return _table(f"{phase.name}: where the joules go", columns, rows)


def _analog(error: AnalogError) -> Table:
    rows = [
        (row.operation, str(row.layers), f"{row.rms:.2%}", f"{row.largest:.2%}")
        for row in error_rows(error)
    ]
    columns = ("linear (worst of its layers)", "layers", "RMS of errors", "largest error")
    return _table("Analog error: sums against exact ones, relative to their RMS", columns, rows)


def _buffers(buffers: Buffers) -> Table:
    columns = ("link buffers (whole run)", "flits", "most held", "stalled, all links")
    title = "Back-pressure: high-water marks, and time that messages waited for room alone"
    return _table(title, columns, buffer_rows(buffers))


def _events(r: Report) -> Table:
    work = "conversions" if any(p.events.conversions for p in r.phases) else "synops"
    names = ("spike_messages", "delivered", work, "messages", "hops", "chip_hops")
    rows = [
        (name.replace("_", " "), *(cell for p in r.phases for cell in _event_cells(p, name)))
        for name in names
    ]
    heads = (f"{p.name} {what}" for p in r.phases for what in ("total", f"per {p.unit}"))
    columns = ["events", *heads]
    return _table("Events (hops count flits x links)", columns, rows)


def _event_cells(phase: PhaseReport, name: str) -> tuple[str, str]:
    count = getattr(phase.events, name)
    return whole(count), whole(count / phase.tokens)


def _density(r: Report) -> Table:
    rows = [
        (
            d.site,
            whole(d.channels),
            share(d.silent_share),
            f"{d.spikes_per_channel:.3f}",
            share(d.per_slot),
            f"{d.mean_steps:.1f}",
            whole(d.max_count),
        )
        for d in r.density
    ]
    columns = ("site", "channels", "(a) silent", "(b) spikes/ch.", "(c) per slot", "T", "max |n|")
    title = "Density: (a) silent channels, (b) spikes per channel, (c) spikes / (channels x T)"
    return _table(title, columns, rows)


def _unpriced(r: Report) -> list[str]:
    return [
        f"{kind}: {whole(n)} in {phase.name}"
        for phase in r.phases
        for kind, n in phase.unpriced.items()
    ]


def _list(out: Console, title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        out.print(f"[bold]{title}[/]")
        for line in lines:
            out.print(escape(f"  - {line}"))

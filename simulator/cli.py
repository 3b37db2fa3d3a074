"""sbsim: run a compiled program, and report what a run cost."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hw_models.console import (
    check_destination,
    chosen_prompt,
    envelope,
    exit_codes,
    progress,
    token_count,
    version_text,
)
from hw_models.errors import BadInput, Usage

RUNS = Path("runs")
"""Where run folders go by default, and where `sbsim report` looks for the newest."""

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    help="Simulate a program that sbcompile wrote, and report what a token costs.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_text())
        raise typer.Exit


@app.callback()
def sbsim(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Simulate a program that sbcompile wrote, and report what a token costs."""


@app.command()
@exit_codes()
def run(
    program: Annotated[
        Path | None,
        typer.Argument(metavar="PROGRAM", help="Program to run. (default: the only .sbx here)"),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Start from this text. (default: the program's prompt)")
    ] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="Start from this file's bytes.")] = None,
    token_ids: Annotated[
        str | None,
        typer.Option(metavar="IDS", help="Start from these token ids: 1,2,3, or a file of them."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Tokens to decode after the prompt. (default: as compiled)"),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS",
            help="In place of --tokens: decode until prompt and continuation are so long: 8k, 1M.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Simulate N of the decoded tokens, and estimate all, with a confidence interval.",
        ),
    ] = None,
    spikes: Annotated[
        Path | None,
        typer.Option(
            help="Input of a network of spiking neurons: a .npy file of 0 and 1, [steps, channels]."
        ),
    ] = None,
    workload: Annotated[
        Literal["functional", "replay", "profile"],
        typer.Option(
            help="Compute everything, or only count: an earlier run's spikes, or random ones."
        ),
    ] = "functional",
    activity: Annotated[
        Path | None,
        typer.Option(help="Of a replay: a run folder, or its activity.parquet."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of a profile's spikes, and of what is sampled. (default: 0)")
    ] = None,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(help="Tokens that a profile prefills. (default: the program's prompt, or 1)"),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(help="Tokens that a core holds sums of at once. (default: the target's)"),
    ] = None,
    sync: Annotated[
        Literal["dataflow", "barrier"] | None,
        typer.Option(help="Cores on their own, or in common steps. (default: the target's)"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder to write. (default: runs/<model>-<target>-<n>)"),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Record every event: a Parquet table and a timeline.")
    ] = False,
    trace_level: Annotated[
        Literal["chip", "core", "spike"] | None,
        typer.Option(help="Record single events, stretches of work of cores, or sums of chips."),
    ] = None,
    trace_window: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Record tokens A to B-1 only: 3:8; or a time: 1us:2.5us."),
    ] = None,
    trace_max_events: Annotated[
        int | None, typer.Option(help="Record so many rows at most, the first by time.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Recompute with the canonical executor; differing is exit 6."),
    ] = False,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Keep what a killed run needs to be resumed."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN_DIR", help="Continue a killed run at its last checkpoint."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Simulate PROGRAM event by event and write a run folder."""
    if checkpoint_every is not None and not checkpoint_every >= 0:
        raise BadInput(f"{checkpoint_every} seconds", where="--checkpoint-every", fix="0 or more")
    if resume is not None:
        fixed = {
            "--prompt": prompt,
            "--prompt-file": prompt_file,
            "--token-ids": token_ids,
            "--tokens": tokens,
            "--context": context,
            "--sample": sample,
            "--spikes": spikes,
            "--workload": None if workload == "functional" else workload,
            "--activity": activity,
            "--seed": seed,
            "--prompt-tokens": prompt_tokens,
            "--slots": slots,
            "--sync": sync,
            "--out": out,
            "--trace": trace or None,
            "--trace-level": trace_level,
            "--trace-window": trace_window,
            "--trace-max-events": trace_max_events,
            "--check": check or None,
        }
        given = [name for name, value in fixed.items() if value is not None]
        if given:
            raise Usage(
                "a resumed run is the one that was begun",
                where=" and ".join(["--resume", *given]),
                fix=f"sbsim run --resume {resume}",
            )
        _resume(resume, program, checkpoint_every, as_json)
        return
    chosen = chosen_prompt(prompt, prompt_file, token_ids)
    length = None if context is None else token_count(context, "--context")
    if length is not None and tokens is not None:
        raise Usage("two lengths", where="--context and --tokens", fix="give one of them")
    path = program or _only_program(Path(), "run")
    if out is not None and out.exists():
        raise BadInput("already exists", where=str(out), fix="another --out, or remove it")

    from compiler.program import Program  # heavy, and --help must be instant
    from simulator.api import next_folder, simulate
    from simulator.outcome import outcome, render
    from simulator.sampled import Sampling
    from simulator.spikes import read_spikes
    from simulator.tracing import Tracing
    from simulator.workload import chosen as chosen_workload

    limits = (trace_level, trace_window, trace_max_events)
    traced = trace or any(limit is not None for limit in limits)
    tracing = Tracing(trace_level or "spike", trace_window or "", trace_max_events)
    found = Program.read(path)
    of_counts = seed if workload == "profile" or sample is None else None
    counts = chosen_workload(
        found, workload, activity=activity, seed=of_counts, prompt=prompt_tokens, tokens=tokens
    )
    folder = out or next_folder(found.graph.model, found.chip.name)
    if checkpoint_every is not None:
        typer.echo(f"if it is interrupted: sbsim run --resume {folder}", err=True)
    with progress() as report:
        done = simulate(
            found,
            prompt=chosen,
            tokens=None if workload == "profile" else tokens,
            context=length,
            sample=None if sample is None else Sampling(sample, seed or 0),
            workload=counts,
            spikes=None if spikes is None else read_spikes(spikes),
            trace=traced and tracing,
            check=check,
            slots=slots,
            sync=sync,
            out=folder,
            checkpoint_every=checkpoint_every,
            source=path,
            progress=report,
        )
    result = {"run_dir": str(folder)} | outcome(done)
    if as_json:
        typer.echo(envelope("run", result))
    else:
        render(result)


def _resume(folder: Path, program: Path | None, every: float | None, as_json: bool) -> None:
    from compiler.program import Program  # heavy, and --help must be instant
    from simulator.api import resume
    from simulator.outcome import outcome, render

    with progress() as report:
        found = None if program is None else Program.read(program)
        done = resume(folder, found, checkpoint_every=every, progress=report)
    result = {"run_dir": str(folder)} | outcome(done)
    if as_json:
        typer.echo(envelope("run", result))
    else:
        render(result)


@app.command()
@exit_codes()
def report(
    run_dir: Annotated[
        Path | None,
        typer.Argument(metavar="RUN_DIR", help="Run folder. (default: the newest in runs/)"),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare with fp16, int8, DEVICE:fp16, DEVICE:int8 or dense-int8-on-chip; "
            "repeatable. (default: fp16 and int8)",
        ),
    ] = None,
    streams: Annotated[
        int, typer.Option(help="Independent sequences that share the static power.")
    ] = 1,
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of tables.")
    ] = False,
) -> None:
    """Price a run: joules, time and sparsity, level by level, beside the same model unspiked."""
    check_destination(html, "--html report.html")

    from simulator.build_report import build_report  # heavy, and --help must be instant
    from simulator.report_html import render_html
    from simulator.report_text import render_text
    from simulator.run_folder import newest_run, read_run

    stored = read_run(run_dir or newest_run(RUNS))
    found = build_report(stored.run, baseline or ("fp16", "int8"), streams)
    render_html(found, stored.run, html, activity=stored.activity, provenance=stored.provenance)
    if as_json:
        typer.echo(envelope("report", found.to_json()))
    else:
        render_text(found)
        typer.echo(f"wrote {html}")


@app.command("map")
@exit_codes()
def show_map(
    program: Annotated[
        Path | None,
        typer.Argument(metavar="PROGRAM", help="Program to show. (default: the only .sbx here)"),
    ] = None,
    html: Annotated[Path, typer.Option(help="Page to write.")] = Path("map.html"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the numbers as JSON instead of tables.")
    ] = False,
) -> None:
    """Show PROGRAM on its chips: one HTML page of cores, links, how full and how busy they are."""
    check_destination(html, "--html map.html")
    path = program or _only_program(Path(), "map")

    from compiler.program import Program  # heavy, and --help must be instant
    from simulator.map_data import floorplan
    from simulator.map_page import render_map
    from simulator.map_summary import render, summary

    plan = floorplan(Program.read(path))
    found = summary(plan)
    render_map(plan, found, html)
    if as_json:
        typer.echo(envelope("map", {"program": str(path), "html": str(html)} | found))
    else:
        render(found)
        typer.echo(f"wrote {html}")


def _only_program(folder: Path, command: str) -> Path:
    """The one .sbx in a folder."""
    found = sorted(folder.glob("*.sbx"))
    if not found:
        raise BadInput("no .sbx here", where=str(folder.resolve()), fix="sbcompile MODEL")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise Usage(
            f"{len(found)} programs here: {names}",
            where=str(folder.resolve()),
            fix=f"sbsim {command} {found[0].name}",
        )
    return found[0]


def main() -> None:
    app(prog_name="sbsim")


if __name__ == "__main__":
    main()

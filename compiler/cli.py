"""sbcompile: map a spiking language model onto a chip."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compiler.budget import Budget
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
from hw_models.files import write_text

GRAPHS = (".dot", ".gv", ".graphml")

if TYPE_CHECKING:
    from compiler.frontends.nir import Stepping

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


class Coding(StrEnum):
    """Codings that --coding offers; which of them a target can do is checked by the compiler."""

    bitwise = "bitwise"
    ternary = "ternary"
    graded = "graded"


class Integration(StrEnum):
    """How --integration takes leaks from step to step; the compiler says what each computes."""

    euler = "euler"
    exact = "exact"
    loihi = "loihi"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_text())
        raise typer.Exit


@app.command(
    epilog="sbcompile verify FILE checks a written program by its file alone; "
    "sbcompile export FILE --lava writes it as a Lava network."
)
@exit_codes()
def sbcompile(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="Checkpoint (a .pt or .safetensors file, or a model folder), or a NIR graph. A "
            "config.json gives a program without weights.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of MODEL: a published model without weights, such as spikingbrain-7b.",
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="Chip to map onto: a shipped name or the path of a .toml file.")
    ] = "loihi-like",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Program to write. (default: ./<MODEL's stem or NAME>.sbx)"
        ),
    ] = None,
    coding: Annotated[
        Coding | None, typer.Option(help="How integer counts become spikes. (default: bitwise)")
    ] = None,
    k: Annotated[
        float | None,
        typer.Option(
            "--k", help="Threshold is mean |x| / k: larger means more spikes. (default: 3)"
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt that `sbsim run` starts from by default.")
    ] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="Read the prompt from this file, byte for byte.")
    ] = None,
    token_ids: Annotated[
        str | None,
        typer.Option(metavar="IDS", help="The prompt as token ids: 1,2,3, or a file of them."),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Tokens that `sbsim run` decodes by default. (default: 64)"),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS",
            help="Tokens that full attention looks back on, such as 32768 or 128k. "
            "(default: 4096, or the model's own limit if that is lower)",
        ),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(
            help="Length of a NIR graph's time step, in the unit of its taus. (default: 1e-4)"
        ),
    ] = None,
    integration: Annotated[
        Integration | None,
        typer.Option(help="How a NIR graph's leaks go from step to step. (default: euler)"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one value of the target, such as core.synapse_memory=256KiB; repeatable.",
        ),
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Stop improving the placement when the compile has taken so long. The program "
            "then depends on the machine. (default: until nothing is gained)",
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Write no program and improve no placement: what a mapping needs at most.",
        ),
    ] = False,
    explained: Annotated[
        list[str] | None,
        typer.Option(
            "--explain",
            metavar="OP",
            help="Also tell where an operation is, what it needs and what it is expected to cost, "
            "such as layers.0.o; repeatable.",
        ),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write the graph of the operations: .dot, .gv or .graphml.",
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write a table of the operations."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the mapping summary as JSON.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Map MODEL onto a chip, write a program for sbsim and print the mapping summary."""
    chosen = chosen_prompt(prompt, prompt_file, token_ids)
    overrides = _overrides(changes or ())
    if estimate and out is not None:
        raise Usage("an estimate writes no program", where="--out", fix="leave one of them out")
    path = None if estimate else _destination(model, preset, out)
    budget = Budget.none() if estimate else Budget(time_budget)
    _check_extras(graph, table)

    from compiler.explain import explain  # torch: heavy, and --help must be instant
    from compiler.explain_text import render_explained
    from compiler.forecast import forecast
    from compiler.graph_file import write_graph
    from compiler.layer_table import layer_table
    from compiler.pipeline import map_model, save
    from compiler.summary import console, render, summary

    with progress() as report:
        program, source = map_model(
            model,
            target,
            preset=preset,
            coding=coding and coding.value,
            k=k,
            prompt=chosen,
            tokens=tokens,
            context=None if context is None else token_count(context, "--context"),
            stepping=_stepping(dt, integration),
            overrides=overrides,
            budget=budget,
            progress=report,
        )
        expected = forecast(program)
        told = [explain(expected, operation) for operation in explained or ()]
        if graph is not None:
            write_graph(expected, graph)
        if table is not None:
            write_text(table, layer_table(expected))
        if path is not None:
            program = save(program, source.tensors, path, report)
    written = [file for file in (path, graph, table) if file is not None]
    found = summary(program, expected) | {"explained": told, "written": list(map(str, written))}
    if as_json:
        typer.echo(envelope("mapping", {"program": str(path) if path else None} | found))
        return
    terminal = console()
    render(found, terminal)
    for operation in told:
        render_explained(operation, terminal)
    for file in written:
        typer.echo(f"wrote {file}")
    if estimate:
        typer.echo("an estimate: nothing was improved, and no program written")


def _check_extras(graph: Path | None, table: Path | None) -> None:
    """Files beside the program that cannot be written are refused before the work."""
    for option, file in (("--graph", graph), ("--csv", table)):
        if file is not None:
            check_destination(file, f"{option} with the name of a file")
            if not os.access(file.resolve().parent, os.W_OK):
                raise BadInput("cannot write there", where=str(file), fix=f"another {option}")
    if graph is not None and graph.suffix.lower() not in GRAPHS:
        raise Usage("a graph in an unknown format", where=str(graph), fix=" or ".join(GRAPHS))


def _stepping(dt: float | None, integration: Integration | None) -> "Stepping | None":
    """None where nothing is chosen."""
    if dt is None and integration is None:
        return None
    from compiler.frontends.nir import Stepping

    default = Stepping()
    return Stepping(
        default.dt if dt is None else dt,
        default.integration if integration is None else integration.value,
    )


def _overrides(changes: Sequence[str]) -> dict[str, str]:
    """['core.lanes=8'] -> {'core.lanes': '8'}."""
    found: dict[str, str] = {}
    for change in changes:
        key, equals, value = (part.strip() for part in change.partition("="))
        if not (key and equals and value):
            raise Usage(f"{change!r} sets nothing", where="--set", fix="--set core.lanes=8")
        if found.setdefault(key, value) != value:
            raise Usage(f"{key} is set twice", where="--set", fix="give one value")
    return found


def _destination(model: Path | None, preset: str | None, out: Path | None) -> Path:
    """Where to write; an impossible place is refused before the work, not after it."""
    if (model is None) == (preset is None):
        what = "neither a MODEL nor a --preset" if model is None else "a MODEL and a --preset"
        raise Usage(what, where="MODEL and --preset", fix="give one of them")
    path = out or Path(f"{Path(preset or '').name if model is None else _name(model)}.sbx")
    check_destination(path, "--out model.sbx")
    if model is not None and path.resolve() == model.resolve():
        raise Usage("this would overwrite the model", where=str(path), fix="another --out")
    if not os.access(path.resolve().parent, os.W_OK):
        raise BadInput("cannot write there", where=str(path), fix="another --out")
    return path


def _name(model: Path) -> str:
    """A folder's whole name, also for its config.json; a file's without its suffix."""
    model = model.resolve()
    if model.name == "config.json":
        model = model.parent
    return model.name if model.is_dir() else model.stem


def main() -> None:
    if sys.argv[1:2] == ["verify"]:  # a model of that name: sbcompile ./verify
        from compiler.cli_verify import app as verify

        verify(args=sys.argv[2:], prog_name="sbcompile verify")
    if sys.argv[1:2] == ["export"]:
        from compiler.cli_export import app as export

        export(args=sys.argv[2:], prog_name="sbcompile export")
    app(prog_name="sbcompile")


if __name__ == "__main__":
    main()

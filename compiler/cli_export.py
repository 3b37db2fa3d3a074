"""sbcompile export: a program's integers for another simulator."""

from pathlib import Path
from typing import Annotated

import typer

from hw_models.console import check_destination, envelope, exit_codes
from hw_models.errors import Usage

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
@exit_codes()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Program to export (.sbx).")],
    lava: Annotated[
        bool,
        typer.Option("--lava", help="Write a network for Lava: a script and an .npz beside it."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Script to write. (default: ./<FILE's stem>_lava.py)"),
    ] = None,
    activity: Annotated[
        Path | None,
        typer.Option(
            metavar="PARQUET",
            help="Take the network's input from a run: the activity.parquet of its folder.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Take only so many tokens or steps of that run. (default: all)"),
    ] = None,
    ops: Annotated[
        list[str] | None,
        typer.Option(
            "--op",
            metavar="OP",
            help="Export this linear layer only, such as layers.0.o; repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a program's integers as a network that another simulator runs, from its FILE alone.

    Neurons in fixed point (--integration loihi) become Lava's Dense and LIF processes; of other
    programs the linear layers do, fed with graded spikes that a run recorded.
    """
    if not lava:
        raise Usage("nothing says what for", where="sbcompile export", fix="--lava")
    if tokens is not None and (tokens < 1 or activity is None):
        raise Usage(f"{tokens} tokens of a run", where="--tokens", fix="1 or more of --activity")
    script = out or Path(f"{file.stem}_lava.py")
    if script.suffix != ".py":
        raise Usage("a script is a .py file", where=str(script), fix="--out model_lava.py")
    check_destination(script, "--out model_lava.py")

    from compiler.lava.export import export as written  # heavy, and --help must be instant
    from compiler.lava.recorded import recorded
    from compiler.program import Program

    program = Program.read(file)
    counts = {} if activity is None else recorded(activity, tokens)
    names = written(program, script, counts, ops or ())
    files = [str(script), str(script.with_suffix(".npz"))]
    if as_json:
        typer.echo(envelope("export", {"program": str(file), "ops": names, "written": files}))
        return
    typer.echo(
        f"{len(names)} of {program.graph.model}: {', '.join(names[:8])}"
        f"{', ...' if len(names) > 8 else ''}"
    )
    for name in files:
        typer.echo(f"wrote {name}")

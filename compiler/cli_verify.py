"""sbcompile verify: check a program by its file alone."""

from pathlib import Path
from typing import Annotated

import typer

from hw_models.console import envelope, exit_codes, progress
from hw_models.errors import GateFailed

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
@exit_codes()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Program to check (.sbx).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check every promise of a compiled program from its FILE alone; a broken one is exit 6.

    Tiles cover each matrix once; no core and no router holds more than the target has; every key,
    sent through the routers' tables, reaches exactly its sinks; links do not wait for each other in
    a circle; all sections are as they were written.
    """
    from compiler.audit.verify import verify as checked  # heavy, and --help must be instant
    from compiler.program import Program

    program = Program.read(file)
    with progress() as report:
        found = checked(program, report)
    broken = [check for check in found if check.problem]
    if as_json:
        rows = [
            {"check": c.name, "looked_at": c.looked_at, "problem": c.problem or None} for c in found
        ]
        typer.echo(envelope("verification", {"program": str(file), "checks": rows}))
    else:
        width = max(len(c.name) for c in found)
        for check in found:
            state = f"BROKEN: {check.problem}" if check.problem else "ok"
            typer.echo(f"{check.name:<{width}}  {check.looked_at}: {state}")
    if broken:
        raise GateFailed(
            f"{len(broken)} of {len(found)} checks found the program broken",
            where=str(file),
            fix="compile it again",
        )

"""sbsim as typed, and what it leaves behind."""

import json

from typer.testing import CliRunner

from compiler.pipeline import map_graph
from compiler.program import Program
from simulator.cli import app
from tests.compiler.typed import TINY, contents

__all__ = ["FEW", "TINY", "call", "contents", "flip", "names", "result_of", "without_weights"]

FEW = ("--prompt", "hi", "--tokens", "2")


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="sbsim")


def names(folder):
    return {str(p) for p in contents(folder)}


def flip(path, at):
    """Change one bit of one byte; negative positions count from the end."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def result_of(done, name):
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["version"]) == (f"spikeloom-{name}", 1)
    return found["result"]


def without_weights(folder):
    program = Program.read(folder / "tiny.sbx")
    map_graph(program.graph, program.chip).write(folder / "tiny.sbx")
    return ("run",)

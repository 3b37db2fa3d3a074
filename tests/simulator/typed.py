"""sbsim as typed, and what it leaves behind."""

import json

from typer.testing import CliRunner

from compiler.frontends.config import GlaSwaConfig
from compiler.pipeline import map_graph
from compiler.program import Program
from simulator.cli import app

TINY = GlaSwaConfig(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    sliding_window=8,
)
FEW = ("--prompt", "hi", "--tokens", "2")


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="sbsim")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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

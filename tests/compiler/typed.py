"""sbcompile as typed, and what it leaves behind."""

from typer.testing import CliRunner

from compiler.cli import app
from compiler.frontends.config import GlaSwaConfig

TINY = GlaSwaConfig(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    sliding_window=8,
)


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="sbcompile")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

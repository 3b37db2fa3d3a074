"""What several tests of the whole project look at."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parent.parent


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if command.params or not inner:
        yield name, command
    for word, child in inner.items():
        yield from _below(f"{name} {word}", child)


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def commands() -> Mapping[str, Any]:
    """Every command with options, such as "sbsim run", and its click form."""
    from compiler.cli import app as sbcompile
    from compiler.cli_export import app as export
    from compiler.cli_verify import app as verify
    from simulator.cli import app as sbsim

    groups = {
        "sbcompile": sbcompile,
        "sbcompile export": export,
        "sbcompile verify": verify,
        "sbsim": sbsim,
    }
    return {
        name: command
        for program, app in groups.items()
        for name, command in _below(program, typer.main.get_command(app))
    }


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model.pt`: two untrained layers of 32 channels, small enough for every target."""
    import torch

    from compiler.frontends.config import GlaSwaConfig
    from examples.byte_lm.model import random_checkpoint

    config = GlaSwaConfig(
        vocab_size=256,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=4,
    )
    path = tmp_path_factory.mktemp("checkpoint") / "model.pt"
    torch.save(random_checkpoint(config, seed=0), path)
    return path

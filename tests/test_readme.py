"""What the README shows works as shown, on a model small enough for a test."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MODULES = {"sbcompile": "compiler.cli", "sbsim": "simulator.cli"}


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A folder with the model where the README's is."""
    place = tmp_path / "examples" / "byte_lm"
    place.mkdir(parents=True)
    shutil.copy(tiny_model, place / "model.pt")
    return tmp_path


@pytest.fixture
def python(root, folder) -> Callable[..., str]:
    """Runs Python in that folder; returns what it printed."""

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def blocks(root: Path, language: str) -> list[str]:
    text = (root / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_commands_by_hand_leave_files_that_are_all_documented(root, folder, python):
    (by_hand,) = [block for block in blocks(root, "") if "sbcompile" in block]
    commands = [line.partition("#")[0].split() for line in by_hand.splitlines()]
    commands = [words for words in commands if words[0] in MODULES]
    assert [words[0] for words in commands] == ["sbcompile", "sbsim", "sbsim"]
    printed = [python("-m", MODULES[words[0]], *words[1:]) for words in commands]
    assert "wrote model.sbx" in printed[0]
    assert "fp16" in printed[2] and "int8" in printed[2]
    assert (folder / "report.html").stat().st_size > 10_000
    reference = (root / "docs" / "files.md").read_text()
    written = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {n for n in written - {"model.pt", "model.sbx"} if f"`{n}`" not in reference} == set()


def test_the_python_example_is_under_ten_lines_and_runs(root, python):
    (example,) = blocks(root, "python")
    assert len(example.splitlines()) < 10
    assert "def read(path):" in python("-c", example)

"""The wheel is complete, and works where the sources are not."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOMS = ("compiler", "hw_models", "kernels", "simulator")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel, built from a copy so that nothing old in build/ gets into it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    for room in (*ROOMS, "examples", "tests", "benchmarks"):
        if (root / room).is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "*.pt")
            shutil.copytree(root / room, source / room, ignore=skipped)
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", out]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True)
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment that holds our wheel and nothing else of ours; returns its bin folder.

    Dependencies are lent by this environment through a path file. Such a path comes after the
    environment's own packages, and the path files in it (our editable install) are not read.
    """
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    python = home / "bin" / "python"
    options = ["--no-deps", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", *options, wheel]
    subprocess.run(pip, check=True)
    paths = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    (Path(paths["purelib"]) / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home / "bin"


@pytest.fixture
def type_in(installed, tmp_path) -> Callable[..., str]:
    """Runs a command of the installed wheel in an empty folder; returns what it printed."""

    def run(program: str, *words: str) -> str:
        done = subprocess.run(
            [installed / program, *words],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheel_holds_the_four_rooms_with_their_data_and_nothing_else(root, wheel):
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    ours = {
        path.relative_to(root).as_posix()
        for room in ROOMS
        for path in (root / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == ours


def test_the_wheel_carries_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)


def test_every_import_is_a_declared_dependency(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", d)[0] for d in project["dependencies"]}
    imported: dict[str, Path] = {}
    for room in ROOMS:
        for path in (root / room).rglob("*.py"):
            extra = {"triton"} if path.stem.endswith("_triton") else set()
            if path == root / "compiler" / "lava" / "network.py":
                extra = {"lava"}  # a script that users are given, and none of ours imports
            for name in top_level_imports(path) - extra:
                imported[name] = path
    foreign = set(imported) - set(sys.stdlib_module_names) - set(ROOMS)
    assert {n: imported[n] for n in foreign - declared} == {}
    assert declared - foreign == set(), "declared but never imported"


def top_level_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_installed_modules_come_from_the_wheel(type_in, installed):
    code = f"import {', '.join(ROOMS)}; print(*({', '.join(r + '.__file__' for r in ROOMS)},))"
    for file in type_in("python", "-c", code).split():
        assert Path(file).is_relative_to(installed.parent)


def test_the_installed_commands_explain_themselves_and_compile(type_in, tiny_model):
    for program in ("sbcompile", "sbsim"):
        assert "Usage:" in type_in(program, "--help")
    assert "wrote model.sbx" in type_in("sbcompile", str(tiny_model), "--target", "toy")

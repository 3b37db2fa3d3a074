"""`--help` is instant and explains everything."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "numba", "triton", "scipy", "pandas", "pyarrow", "plotly", "networkx", "h5py"}
PROBE = """
import json, sys
from {module} import main
sys.argv = {argv}
try:
    main()
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, sorted({heavy} & set(sys.modules))]), file=sys.stderr)
"""
MODULES = {"sbcompile": "compiler.cli", "sbsim": "simulator.cli"}


def ask_for_help(*words: str) -> tuple[str, int, list[str]]:
    """What `words --help` prints, its exit code, and the heavy modules it imported."""
    probe = PROBE.format(module=MODULES[words[0]], argv=[*words, "--help"], heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )
    code, imported = json.loads(done.stderr.splitlines()[-1])
    return done.stdout, code, imported


@pytest.mark.parametrize("program", MODULES)
def test_help_imports_nothing_heavy(program):
    text, code, imported = ask_for_help(program)
    assert (code, imported) == (0, [])
    assert "Usage:" in text and program in text


def test_help_of_every_command_shows_every_option_with_its_explanation(commands):
    for name, command in commands.items():
        text, code, imported = ask_for_help(*name.split())
        assert (code, imported) == (0, []), name
        assert command.help, f"{name} does not say what it does"
        for param in command.params:
            assert param.help, f"{name}: {param.name} is not explained"
            assert not param.hidden, f"{name}: {param.name} is hidden"
            shown = [flag for flag in param.opts if flag.startswith("--")]
            shown = shown or [param.metavar or param.name.upper()]
            assert all(flag in text for flag in shown), f"{name} --help does not show {shown}"
            start = " ".join(param.help.split()[:3])
            assert start in " ".join(text.split()), f"{name}: {param.name} is not explained in help"

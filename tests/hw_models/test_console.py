"""Progress and envelopes; how errors are told is tested with the commands."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hw_models import console
from hw_models.console import envelope, exit_codes, progress, prompt_bytes
from hw_models.errors import BadInput, Usage


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_beside_a_pipe_is_plain_lines_on_stderr(capsys):
    with progress() as report:
        for i in range(3):
            report("tile", i, 3)
        report("pack", 0, 2)
        report("pack", 2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "tile: 0 of 3"
    assert lines[1] == "pack: 0 of 2"
    assert lines[2].startswith("pack: 2 of 2")
    assert len(lines) == 3


def test_a_slow_step_is_reported_with_rate_and_time_left(capsys):
    now = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    report = console._lines(lambda: next(now))
    for done in (0, 10, 60, 70, 120):
        report("decode", done, 200)
    assert capsys.readouterr().err.splitlines() == [
        "decode: 0 of 200",
        "decode: 60 of 200, 10/s, 14 s left",
        "decode: 120 of 200, 10/s, 8 s left",
    ]


def test_progress_on_a_terminal_is_a_bar_that_vanishes(monkeypatch, capsys):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as report:
        report("prefill", 1, 4)
        report("decode", 0, 8)
    assert "decode" in screen.getvalue() and "0/8" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased at the end
    assert capsys.readouterr().out == ""


def test_an_envelope_names_its_format():
    assert json.loads(envelope("thing", {"a": [1]})) == {
        "format": "spikeloom-thing",
        "version": 1,
        "result": {"a": [1]},
    }


def test_prompts_are_bytes(tmp_path):
    (tmp_path / "p").write_bytes(b"\x00\xff")
    assert prompt_bytes(None, None) is None
    assert prompt_bytes("né", None) == b"n\xc3\xa9"
    assert prompt_bytes(None, tmp_path / "p") == b"\x00\xff"


def test_prompts_that_are_none_are_refused(tmp_path):
    (tmp_path / "p").touch()
    with pytest.raises(BadInput, match="empty"):
        prompt_bytes("", None)
    with pytest.raises(BadInput, match="empty"):
        prompt_bytes(None, tmp_path / "p")
    with pytest.raises(BadInput, match="cannot read"):
        prompt_bytes(None, tmp_path)
    with pytest.raises(Usage):
        prompt_bytes("a", tmp_path / "p")


def test_success_passes_through(capsys):
    with exit_codes():
        pass
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_early_is_no_bug():
    with pytest.raises(BrokenPipeError), exit_codes():
        raise BrokenPipeError


def test_characters_that_the_terminal_lacks_are_escaped():
    code = "from hw_models.console import exit_codes\nwith exit_codes(): print('na\u00efve')"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"na\\xefve\n"), done.stderr


def test_importing_the_console_draws_nothing_in():
    code = "import sys, hw_models.console; sys.exit({'rich', 'typer'} & set(sys.modules) != set())"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

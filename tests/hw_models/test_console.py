"""Progress and envelopes; how errors are told is tested with the commands."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hw_models import console
from hw_models.console import chosen_prompt, envelope, exit_codes, progress, token_count
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


def test_prompts_are_bytes_or_token_ids(tmp_path):
    (tmp_path / "p").write_bytes(b"\x00\xff")
    assert chosen_prompt(None, None, None) is None
    assert chosen_prompt("né", None, None) == b"n\xc3\xa9"
    assert chosen_prompt(None, tmp_path / "p", None) == b"\x00\xff"
    assert chosen_prompt(None, None, "1,22, 3") == (1, 22, 3)


@pytest.mark.parametrize("text", ["1,2", " 1 2 ", "[1, 2]", "1\n2\n", "1,,2", "[1 2"])
def test_token_ids_are_numbers_however_they_are_parted(tmp_path, text):
    (tmp_path / "ids").write_text(text)
    assert chosen_prompt(None, None, text) == (1, 2)
    assert chosen_prompt(None, None, str(tmp_path / "ids")) == (1, 2)


@pytest.mark.parametrize(
    "text", ["", " ", "[]", ",", "a", "1,a", "-1", "1.5", "²", "1" * 5000, "1,2;3", "nowhere"]
)
def test_token_ids_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "ids").write_text(text)
    with pytest.raises(BadInput, match="neither token ids nor a file"):
        chosen_prompt(None, None, text)
    with pytest.raises(BadInput, match="no list of token ids") as caught:
        chosen_prompt(None, None, str(tmp_path / "ids"))
    assert caught.value.where == str(tmp_path / "ids")


def test_prompts_that_are_none_are_refused(tmp_path):
    (tmp_path / "p").touch()
    with pytest.raises(BadInput, match="empty"):
        chosen_prompt("", None, None)
    with pytest.raises(BadInput, match="empty"):
        chosen_prompt(None, tmp_path / "p", None)
    for ids in (None, str(tmp_path)):
        with pytest.raises(BadInput, match="cannot read"):
            chosen_prompt(None, None if ids else tmp_path, ids)


def test_two_prompts_are_named(tmp_path):
    options = {"--prompt": "a", "--prompt-file": tmp_path / "p", "--token-ids": "1"}
    for left_out in options:
        given = [None if name == left_out else value for name, value in options.items()]
        with pytest.raises(Usage) as caught:
            chosen_prompt(*given)
        assert caught.value.where == " and ".join(n for n in options if n != left_out)


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


@pytest.mark.parametrize(
    ("text", "n"),
    [("0", 0), ("1", 1), ("8192", 8192), ("8k", 8192), ("128K", 131_072), ("1M", 1_048_576)],
)
def test_k_and_m_of_tokens_are_powers_of_two(text, n):
    assert token_count(text, "--context") == n


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5k", "1 M", "1m", "1G", "k", "1e6", "1,024", "2048M", "9" * 30]
)
def test_nonsense_is_no_number_of_tokens(text):
    with pytest.raises(BadInput, match="is no number of tokens") as error:
        token_count(text, "--context")
    assert error.value.where == "--context" and "128k (x 1,024)" in error.value.fix

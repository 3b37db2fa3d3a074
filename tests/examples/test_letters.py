"""The example reads every one of its letters, and is short enough to read itself."""

import sys

import pytest

from examples.letters import LETTERS, main


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_is_told_from_the_others(letter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(letter) == letter
    assert "J a step" in capsys.readouterr().out
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"letters.nir", "letters.sbx", "runs"}


def test_it_is_short():
    with open(sys.modules["examples.letters"].__file__) as file:
        assert len(file.readlines()) < 80

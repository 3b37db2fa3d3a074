"""The demo's benchmark runs the three commands, and says so when one fails."""

import subprocess

import pytest

from benchmarks import demo


def test_the_commands_of_the_readme_are_run_and_measured(root, tiny_model):
    found = demo.measure(tiny_model, prompt=2, tokens=1)
    assert found[0].command.startswith(f"sbcompile {tiny_model} --target loihi-like ")
    readme = (root / "README.md").read_text()
    assert [f"\n{m.command} " in readme for m in found[1:]] == [True, True]
    for m in found:
        assert m.wall_s > 0
        assert m.cpu_s > 0
        assert 20e6 < m.peak_bytes < 4e9


def test_a_command_that_fails_is_no_measurement(tmp_path, capfd):
    with pytest.raises(subprocess.CalledProcessError):
        demo.measure(tmp_path / "no.pt", prompt=2, tokens=1)
    assert "no.pt" in capfd.readouterr().err


@pytest.mark.parametrize(("value", "verdict"), [(59.9, "met"), (60.0, "MISSED"), (80.0, "MISSED")])
def test_a_miss_is_called_a_miss(value, verdict):
    assert demo._verdict(value, demo.GOAL_S) == verdict

"""The benchmark of the compiler runs small; what it says is what the commands say."""

import json
import subprocess
from dataclasses import replace

import pytest

from benchmarks import compile as benchmark
from benchmarks.random_checkpoint import config_of, count
from compiler.program import Program

CONFIG = config_of(2e6, hidden=256, vocab=500, family="gla_swa")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(its folder, a compile of a small config)."""
    folder = tmp_path_factory.mktemp("compile")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = [str(folder / "config.json")]
    return folder, benchmark.compiled(folder, words, "loihi-like", count(CONFIG))


def test_a_compile_is_described_by_its_program(made):
    folder, found = made
    path = folder / "program.sbx"
    program = Program.read(path)
    assert (found.cores, found.chips) == (program.n_cores, program.n_chips)
    assert found.sbx_bytes == path.stat().st_size
    assert found.chip_bits == program.bounds["bits on chip links"]["achieved"]
    assert found.cores_ratio == program.n_cores / program.bounds["cores"]["bound"]
    assert found.weights == count(CONFIG)


def test_time_and_memory_are_those_of_a_process(made):
    _, found = made
    assert found.wall_s > 0.1 and found.verify_s > 0.1
    assert 50e6 < found.peak_bytes < 1e9  # torch is imported


def test_a_second_compile_makes_the_same_program(made):
    folder, found = made
    again = benchmark.compiled(folder, [str(folder / "config.json")], "loihi-like", 0)
    assert again.sha256 == found.sha256


def test_a_command_that_fails_stops_the_benchmark(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        benchmark.compiled(tmp_path, ["--preset", "gpt-9"], "loihi-like", 0)
    assert caught.value.returncode == 3 and "gpt-9" in caught.value.stderr


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        ({"wall_s": 29.0}, "wall", "goal met"),
        ({"wall_s": 31.0}, "wall", "met"),
        ({"wall_s": 61.0}, "wall", "MISSED"),
        ({"peak_bytes": 5_000_000_000}, "memory", "MISSED"),
        ({"cores_ratio": 1.11}, "cores / bound", "MISSED"),
        ({"chip_bits_ratio": 2.4}, "bits on chip links / bound", "met"),
        ({"chip_bits_ratio": 2.6}, "bits on chip links / bound", "MISSED"),
    ],
)
def test_a_miss_is_called_a_miss(made, change, name, verdict):
    goals = {g.name: g for g in benchmark.goals(replace(made[1], **change))}
    assert goals[name].verdict == verdict


@pytest.mark.parametrize("size", benchmark.SIZES)
def test_models_of_the_growth_table_have_their_sizes(size):
    config = config_of(size, benchmark.SIZES[size], family="gla_swa")
    assert count(config) == pytest.approx(size, rel=0.1)

"""`sbcompile export`: from a program and a run of it to a script, as typed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from compiler.cli_export import app as export
from simulator.cli import app as sbsim
from simulator.run_folder import read_run
from tests.tiny import tiny


def call(app, *words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a program, and a run of it."""
    monkeypatch.chdir(tmp_path)
    tiny().write(tmp_path / "some.sbx")
    done = call(sbsim, "run", "--token-ids", "3,1,4", "--tokens", "2", "--out", "run")
    assert done.exit_code == 0, done.stderr
    return tmp_path


def test_a_run_s_counts_go_along(folder):
    done = call(
        export, "some.sbx", "--lava", "--activity", "run/activity.parquet",
        "--tokens", 2, "--op", "layers.0.o", "--op", "head", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "spikeloom-export"
    assert found["result"]["ops"] == ["layers.0.o", "head"]
    assert found["result"]["written"] == ["some_lava.py", "some_lava.npz"]
    arrays = np.load("some_lava.npz", allow_pickle=False)
    net = json.loads(str(arrays["network"]))
    counts = read_run(folder / "run").activity.counts
    for i, (site, _) in enumerate(net["inputs"]):
        np.testing.assert_array_equal(arrays[f"input/{i}"], np.stack(counts[site][:2]))


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["some.sbx"], 2, "nothing says what for"),
        (["some.sbx", "--lava", "--tokens", "2"], 2, "--activity"),
        (["some.sbx", "--lava", "--out", "net.txt"], 2, "a .py file"),
        (["none.sbx", "--lava"], 3, "no such program"),
        (["some.sbx", "--lava", "--activity", "none.parquet"], 3, "no such file"),
        (["some.sbx", "--lava", "--activity", "some.sbx"], 3, "no counts of a run"),
        (["some.sbx", "--lava", "--activity", "other.parquet"], 3, "no counts of a run"),
        (["some.sbx", "--lava"], 3, "no counts to go along"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(folder, words, code, what):
    import pyarrow as pa
    import pyarrow.parquet as pq

    other = pa.table({"site": ["a"], "counts": ["b"]})
    pq.write_table(other, folder / "other.parquet")
    done = call(export, *words)
    assert done.exit_code == code and what in done.stderr, done.stderr
    assert not list(folder.glob("*.npz")) and not list(folder.glob("*.py"))

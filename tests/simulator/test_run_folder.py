"""A run folder comes back as it was, is the same bytes again, and is refused when touched."""

import json
import subprocess

import numpy as np
import pytest

from hw_models.errors import BadInput
from simulator.run_folder import (
    ACTIVITY,
    COUNTERS,
    PROVENANCE,
    RUN,
    SUMS,
    newest_run,
    read_run,
    write_run,
)

FILES = (RUN, COUNTERS, ACTIVITY, SUMS, PROVENANCE)
HOST = {"host": "a", "seconds": 1.5}


@pytest.fixture
def folder(tmp_path, run, activity):
    return write_run(tmp_path / "first", run, activity, HOST)


def test_a_run_comes_back_as_it_was(folder, run, activity):
    stored = read_run(folder)
    assert stored.run == run
    assert list(stored.run.operations) == list(run.operations)
    assert stored.provenance == HOST
    assert list(stored.activity.counts) == list(activity.counts)
    for site in activity.counts:
        np.testing.assert_array_equal(stored.activity.stacked(site), activity.stacked(site))
        assert stored.activity.stacked(site).dtype == np.int32
        assert stored.activity.v_th[site] == activity.v_th[site]


def test_a_run_without_activity_is_a_run(tmp_path, run):
    assert read_run(write_run(tmp_path / "r", run, None, {})).activity is None


def test_only_provenance_tells_two_equal_runs_apart(tmp_path, folder, run, activity):
    again = write_run(tmp_path / "second", run, activity, {"host": "b"})
    for name in FILES:
        same = (folder / name).read_bytes() == (again / name).read_bytes()
        assert same == (name != PROVENANCE), name


def test_the_sums_are_those_of_coreutils(folder):
    subprocess.run(["sha256sum", "-c", SUMS], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["truncate", "alter", "remove", "empty"])
def test_a_harmed_file_is_refused_by_name(folder, name, harm):
    path = folder / name
    data = path.read_bytes()
    middle = len(data) // 2
    match harm:
        case "truncate":
            path.write_bytes(data[:-3])
        case "alter":
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        case "remove":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(BadInput) as error:
        read_run(folder)
    if name != SUMS:  # a changed digest looks like a changed file
        assert name in str(error.value)


def test_sums_that_point_outside_are_refused(folder, tmp_path):
    (tmp_path / "secret").write_text("x")
    with (folder / SUMS).open("a") as file:
        file.write("0" * 64 + "  ../secret\n")
    with pytest.raises(BadInput, match=SUMS):
        read_run(folder)


def test_another_format_is_named(folder):
    head = json.loads((folder / RUN).read_text())
    (folder / RUN).write_text(json.dumps(head | {"format": "spikeloom-run-9"}))
    sums = (folder / SUMS).read_text().splitlines()
    digest = subprocess.run(
        ["sha256sum", folder / RUN], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    (folder / SUMS).write_text("\n".join([f"{digest}  {RUN}", *sums[1:]]) + "\n")
    with pytest.raises(BadInput, match="spikeloom-run-9"):
        read_run(folder)


def test_an_existing_folder_is_kept(folder, run):
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(BadInput, match="already exists"):
        write_run(folder, run, None, {})
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_failed_write_leaves_nothing(tmp_path, run):
    with pytest.raises(TypeError):
        write_run(tmp_path / "r", run, None, {"not": object()})
    assert list(tmp_path.iterdir()) == []


def test_the_newest_run_is_the_one_finished_last(tmp_path, run):
    runs = tmp_path / "runs"
    runs.mkdir()
    with pytest.raises(BadInput, match="no run"):
        newest_run(runs)
    for name in ("b", "a"):
        last = write_run(runs / name, run, None, {})
    assert newest_run(runs) == last


def test_a_place_without_a_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="not a run folder"):
        read_run(tmp_path)

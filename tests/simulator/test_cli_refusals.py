"""sbsim refuses in a sentence, with a code, and leaves nothing half-written."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import simulator.api
import simulator.run_folder
from compiler.pipeline import map_graph
from compiler.program import Program
from tests.simulator.typed import FEW, call, contents, flip, names, without_weights

ROOT = Path(__file__).resolve().parents[2]

# a shell that runs the tests in the background makes its children deaf to Ctrl-C
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from simulator.cli import main
main()
"""


def without_rates(folder):
    """As an earlier version would have written it."""
    program = Program.read(folder / "tiny.sbx")
    named = {name: program.statistics[name] for name in ("origin", "sha256")}
    dataclasses.replace(map_graph(program.graph, program.chip), statistics=named).write(
        folder / "tiny.sbx"
    )
    return ("map",)


def no_program_to_map(folder):
    return "map", *no_program(folder)[1:]


def two_programs_to_map(folder):
    return "map", *two_programs(folder)[1:]


def text_to_map(folder):
    return "map", *text_as_program(folder)[1:]


def flipped_header_to_map(folder):
    return "map", *flipped_header(folder)[1:]


def pipe_as_map(folder):
    return "map", *pipe_as_page(folder)[1:]


def two_programs(folder):
    shutil.copy(folder / "tiny.sbx", folder / "other.sbx")
    return ("run",)


def no_program(folder):
    (folder / "tiny.sbx").unlink()
    return ("run",)


def flipped_weight(folder):
    flip(folder / "tiny.sbx", -100)
    return ("run",)


def flipped_header(folder):
    flip(folder / "tiny.sbx", (folder / "tiny.sbx").read_bytes().index(b"head_in"))
    return ("run",)


def flipped_length(folder):
    flip(folder / "tiny.sbx", 1)
    return ("run",)


def truncated(folder):
    path = folder / "tiny.sbx"
    path.write_bytes(path.read_bytes()[:-1])
    return ("run",)


def text_as_program(folder):
    (folder / "tiny.sbx").write_text("hello")
    return ("run",)


def folder_as_program(folder):
    (folder / "a").mkdir()
    return "run", "a"


def empty_prompt_file(folder):
    (folder / "empty").touch()
    return "run", "--prompt-file", "empty"


def out_exists(folder):
    (folder / "there").mkdir()
    return "run", "--out", "there"


def flipped_counter(folder):
    flip(folder / "runs/tiny-toy-1/counters.json", 40)
    return ("report",)


def lost_activity(folder):
    (folder / "runs/tiny-toy-1/activity.parquet").unlink()
    return ("report",)


def pipe_as_page(folder):
    os.mkfifo(folder / "pipe")
    return "report", "--html", "pipe"


def no_run(folder):
    shutil.rmtree(folder / "runs")
    return ("report",)


REFUSED = [
    (no_program, 3, ["no .sbx here", "sbcompile"]),
    (two_programs, 2, ["other.sbx, tiny.sbx"]),
    (flipped_weight, 3, ["tiny.sbx", "section", "altered"]),
    (flipped_header, 3, ["tiny.sbx", "header", "altered"]),
    (flipped_length, 3, ["tiny.sbx"]),
    (truncated, 3, ["tiny.sbx"]),
    (text_as_program, 3, ["tiny.sbx"]),
    (folder_as_program, 3, ["no such program"]),
    (empty_prompt_file, 3, ["the prompt is empty"]),
    (out_exists, 3, ["already exists", "there"]),
    ("run nowhere.sbx", 3, ["nowhere.sbx", "sbcompile"]),
    ("run --prompt=", 3, ["the prompt is empty", "--prompt"]),
    ("run --prompt-file nowhere", 3, ["nowhere"]),
    ("run --prompt a --prompt-file tiny.sbx", 2, ["--prompt and --prompt-file"]),
    ("run --token-ids 1,x", 3, ["'1,x' is neither token ids nor a file", "--token-ids"]),
    ("run --token-ids 1,256", 3, ["token id 256; the vocabulary has 256"]),
    ("run --token-ids 1 --prompt a", 2, ["--prompt and --token-ids"]),
    (without_weights, 3, ["the program has no weights", "tiny", "compile a checkpoint"]),
    ("run --tokens 0", 3, ["--tokens"]),
    ("run --slots 0", 3, ["--slots"]),
    ("run --slots 3", 3, ["--slots", "1 to 2"]),
    ("run --tokens many", 2, ["--tokens"]),
    ("run --context many", 3, ["'many' is no number of tokens", "128k", "--context"]),
    ("run --context 0", 3, ["--context"]),
    ("run --context 2", 3, ["a context of 2 tokens for a prompt of 3", "at least 3"]),
    ("run --context 8k --tokens 9", 2, ["--context and --tokens"]),
    ("run --context 8k --sample 2", 3, ["--sample", "at least 4"]),
    ("run --context 99 --sample 80", 3, ["80 windows in 96 decoded tokens", "at most 48"]),
    ("run --context 1M --sample 8", 3, ["65,536", "--workload profile"]),
    ("run --context 99 --sample 8 --trace", 2, ["--sample and --trace"]),
    ("run --resume there --sample 8", 2, ["--resume and --sample"]),
    (pipe_as_page, 3, ["pipe", "not a plain file"]),
    (no_run, 3, ["no run here", "sbsim run"]),
    (flipped_counter, 3, ["counters.json", "altered"]),
    (lost_activity, 3, ["activity.parquet", "missing"]),
    ("report nowhere", 3, ["nowhere"]),
    ("report tiny.sbx", 3, ["tiny.sbx"]),
    ("report --baseline fp17", 3, ["fp17", "fp16"]),
    ("report --streams 0", 3, ["--streams"]),
    ("report --streams 1000000", 3, ["--streams"]),
    ("report --html runs", 3, ["is a folder"]),
    ("report --html nowhere/a.html", 3, ["nowhere"]),
    (no_program_to_map, 3, ["no .sbx here", "sbcompile"]),
    (two_programs_to_map, 2, ["other.sbx, tiny.sbx", "sbsim map"]),
    (text_to_map, 3, ["tiny.sbx", "not a readable .sbx"]),
    (flipped_header_to_map, 3, ["tiny.sbx", "header", "altered"]),
    (without_rates, 3, ["spikes", "compile it again"]),
    (pipe_as_map, 3, ["pipe", "not a plain file"]),
    ("map nowhere.sbx", 3, ["nowhere.sbx", "sbcompile"]),
    ("map --html runs", 3, ["is a folder"]),
    ("map --html nowhere/a.html", 3, ["nowhere"]),
    ("walk", 2, ["walk"]),
]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    REFUSED,
    ids=[w if isinstance(w, str) else w.__name__ for w, _, _ in REFUSED],
)
def test_bad_input_is_refused_in_a_sentence_and_leaves_nothing_behind(with_run, words, code, said):
    words = words.split() if isinstance(words, str) else words(with_run)
    before = contents(with_run)
    done = call(*words)
    assert done.exit_code == code, done.stderr
    assert [w for w in said if w not in done.stderr] == []
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    assert done.stdout == ""
    assert contents(with_run) == before


def test_ctrl_c_ends_a_run_with_130_and_leaves_no_part_of_it(folder):
    with subprocess.Popen(
        [sys.executable, "-c", HEARING, "run", "--tokens", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    ) as process:
        seen = ""
        while not re.search(r"^decode: ", seen, re.M):
            line = process.stderr.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("interrupted\n") and "Traceback" not in err
    assert names(folder) == {"tiny.sbx"}


def test_ctrl_c_while_a_run_is_written_leaves_no_part_of_it(folder, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator.run_folder, "write_table", interrupt)
    done = call("run", *FEW)
    assert (done.exit_code, done.stdout) == (130, "")
    assert names(folder) == {"tiny.sbx"}
    assert list((folder / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workload", "replay"), "needs the activity of a run"),
        (("--workload", "replay", "--activity", "x", "--tokens", "2"), "how many tokens there are"),
        (("--seed", "1"), "the workload functional has no --seed"),
        (("--workload", "profile", "--activity", "x"), "the workload profile has no --activity"),
        (("--workload", "profile", "--prompt", "hi"), "has counts, no text"),
    ],
)
def test_an_option_of_another_workload_is_a_usage_error(folder, words, said):
    done = call("run", *words)
    assert done.exit_code == 2 and said in done.stderr


def test_an_activity_that_is_none_is_refused(folder):
    (folder / "x.parquet").write_bytes(b"PAR1")
    for name, said in (("x.parquet", "cannot be read"), ("nowhere", "not a run folder")):
        done = call("run", "--workload", "replay", "--activity", name)
        assert done.exit_code == 3 and said in done.stderr

"""sbsim as typed: what it writes and prints, and how it refuses."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import simulator.api
import simulator.run_folder
from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build
from compiler.pipeline import compile_graph, map_graph
from compiler.program import Program, Prompt
from examples.byte_lm.model import random_checkpoint
from hw_models.chip import load_chip
from hw_models.errors import GateFailed
from simulator.cli import app

ROOT = Path(__file__).resolve().parents[2]
TINY = GlaSwaConfig(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    sliding_window=8,
)
FEW = ("--prompt", "hi", "--tokens", "2")

# a shell that runs the tests in the background makes its children deaf to Ctrl-C
HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from simulator.cli import main
main()
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """tiny.sbx on the toy chip, and a folder with one run of it."""
    folder = tmp_path_factory.mktemp("compiled")
    weights = random_checkpoint(TINY, seed=0)["state_dict"]
    graph = build(TINY, "tiny")
    program = compile_graph(graph, weights, load_chip("toy"), prompt=Prompt(b"abc", 4))
    program.write(folder / "tiny.sbx")
    simulator.api.simulate(program, out=folder / "runs" / "tiny-toy-1")
    return folder


@pytest.fixture
def folder(compiled, tmp_path, monkeypatch):
    """A working folder that holds tiny.sbx only."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(compiled / "tiny.sbx", tmp_path)
    return tmp_path


@pytest.fixture
def with_run(compiled, folder):
    """A working folder with tiny.sbx and runs/tiny-toy-1: a prompt of 3 and 4 tokens."""
    shutil.copytree(compiled / "runs", folder / "runs")
    return folder


def call(*words):
    return CliRunner().invoke(app, [str(w) for w in words], prog_name="sbsim")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder):
    return {str(p) for p in contents(folder)}


def flip(path, at):
    """Change one bit of one byte; negative positions count from the end."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def result_of(done, name):
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["format"], found["version"]) == (f"spikeloom-{name}", 1)
    return found["result"]


def test_run_takes_the_only_program_here_with_its_own_prompt(folder):
    done = call("run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("abc")
    assert done.stdout.rstrip().endswith("wrote runs/tiny-toy-1")
    for what in ("time to first token", "token/s", "energy per token", "W"):
        assert what in done.stdout
    assert "decode: 4 of 4" in done.stderr and "decode: " not in done.stdout
    kept = {"run.json", "counters.json", "activity.parquet", "SHA256SUMS", "provenance.json"}
    assert names(folder) == {"tiny.sbx"} | {f"runs/tiny-toy-1/{name}" for name in kept}
    run = json.loads((folder / "runs/tiny-toy-1/run.json").read_text())
    assert bytes(run["prompt"]) == b"abc" and len(run["generated"]) == 4


def test_prompt_and_tokens_of_the_command_line_win(folder):
    found = result_of(call("run", *FEW, "--json"), "run")
    assert (bytes(found["prompt"]), len(found["generated"])) == (b"hi", 2)
    assert found["text"].startswith("hi")
    (folder / "p").write_bytes(b"\xff\x00")
    found = result_of(call("run", "--prompt-file", "p", "--tokens", "1", "--json"), "run")
    assert (found["prompt"], len(found["generated"])) == ([255, 0], 1)
    again = result_of(call("run", "--token-ids", "255,0", "--tokens", "1", "--json"), "run")
    assert again == found | {"run_dir": again["run_dir"]}
    assert found["tokens_per_s"] is None and found["phase"] == "prefill"


def test_equal_runs_are_equal_files_but_for_their_provenance(folder):
    assert call("run", *FEW).exit_code == 0
    assert call("run", *FEW).exit_code == 0
    first, second = (contents(folder / "runs" / f"tiny-toy-{i}") for i in (1, 2))
    assert {n for n in first if first[n] != second[n]} <= {Path("provenance.json")}
    assert first.keys() == second.keys()


def test_a_trace_is_two_more_files(folder):
    assert call("run", *FEW, "--out", "traced", "--trace").exit_code == 0
    assert {"traced/events.parquet", "traced/timeline.perfetto"} <= names(folder)


def test_more_slots_change_times_but_no_token(folder):
    one, two = (
        result_of(call("run", "--slots", n, "--out", f"slots-{n}", "--json"), "run") for n in (1, 2)
    )
    assert one["generated"] == two["generated"]
    assert one["time_to_first_token_s"] != two["time_to_first_token_s"]


def test_sync_changes_times_but_no_token(folder):
    flow, steps = (
        result_of(call("run", *FEW, "--sync", sync, "--out", sync, "--json"), "run")
        for sync in ("dataflow", "barrier")
    )
    assert flow["generated"] == steps["generated"]
    assert flow["time_to_first_token_s"] < steps["time_to_first_token_s"]
    assert (flow["sync"], flow["steps_per_token"], flow["barrier_share"]) == ("dataflow", 0, 0)
    assert steps["sync"] == "barrier" and steps["steps_per_token"] > 10
    assert 0 < steps["barrier_share"] < 1
    said = f"{steps['steps_per_token']:.1f} ("
    assert said in call("run", *FEW, "--sync", "barrier").stdout
    assert said in call("report", "barrier").stdout
    assert "steps per token" not in call("report", "dataflow").stdout


def test_an_unknown_sync_is_a_usage_error(folder):
    done = call("run", "--sync", "clock")
    assert done.exit_code == 2 and "clock" in done.stderr
    assert names(folder) == {"tiny.sbx"}


def test_a_model_cannot_write_to_the_terminal_what_it_likes(folder):
    done = call("run", "--prompt", "a\x1b[31m[bold]\n", "--tokens", "1")
    assert done.stdout.startswith("a\\x1b[31m[bold]\n")


def test_a_check_that_holds_passes(folder):
    done = call("run", *FEW, "--check")
    assert done.exit_code == 0, done.stderr
    assert "check: " in done.stderr


def test_a_check_that_fails_is_6_and_leaves_no_run(folder, monkeypatch):
    def differ(*_):
        raise GateFailed("one count differs", where="layers.0.o_in, token 1")

    monkeypatch.setattr(simulator.api, "compare", differ)
    done = call("run", *FEW, "--check")
    assert done.exit_code == 6 and "layers.0.o_in, token 1" in done.stderr
    assert (done.stdout, names(folder)) == ("", {"tiny.sbx"})


def test_report_takes_the_newest_run_and_writes_a_page(with_run):
    assert call("run", *FEW).exit_code == 0
    os.utime(with_run / "runs/tiny-toy-1/SHA256SUMS", (0, 0))
    done = call("report")
    assert done.exit_code == 0, done.stderr
    assert "(2 tokens)" in done.stdout
    assert done.stdout.rstrip().endswith("wrote report.html")
    assert "</html>" in (with_run / "report.html").read_text()
    assert done.stderr == ""


def test_report_of_a_named_run(with_run):
    found = result_of(call("report", "runs/tiny-toy-1", "--html", "a.html", "--json"), "report")
    assert (found["prompt_tokens"], found["generated_tokens"]) == (3, 4)
    baselines = {b["name"] for b in found["phases"][0]["baselines"]}
    assert baselines == {"cmos45:fp16", "cmos45:int8"}
    assert (with_run / "a.html").is_file() and not (with_run / "report.html").exists()


def test_baselines_are_those_asked_for(with_run):
    done = call("report", "--baseline", "int8", "--baseline", "dense-int8-on-chip", "--json")
    baselines = {b["name"] for b in result_of(done, "report")["phases"][0]["baselines"]}
    assert baselines == {"cmos45:int8", "dense-int8-on-chip"}


def test_run_and_report_quote_the_same_joules(folder):
    ran = result_of(call("run", *FEW, "--json"), "run")
    reported = result_of(call("report", "--json"), "report")["headline"]
    for key in ("joules_per_token", "watts", "tokens_per_s", "time_to_first_token_s"):
        assert ran[key] == reported[key], key


def test_a_map_is_a_page_and_its_numbers(folder):
    done = call("map")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.rstrip().endswith("wrote map.html") and done.stderr == ""
    for what in (
        "chips, cores",
        "synapse memory",
        "table entries",
        "Busiest links",
        "bits x links of the mesh",
    ):
        assert what in done.stdout
    assert names(folder) == {"tiny.sbx", "map.html"}
    assert "</html>" in (folder / "map.html").read_text()


def test_the_numbers_of_a_map_are_those_of_its_program(folder):
    found = result_of(call("map", "tiny.sbx", "--html", "a.html", "--json"), "map")
    program = Program.read(folder / "tiny.sbx")
    assert (found["program"], found["html"]) == ("tiny.sbx", "a.html")
    assert (found["n_cores"], found["n_chips"]) == (program.n_cores, program.n_chips)
    assert found["bounds"] == {name: dict(row) for name, row in program.bounds.items()}
    mesh = found["bounds"]["bits x links of the mesh"]["achieved"]
    assert round(found["bits_on_links"]["mesh"]) == mesh > 0
    assert (folder / "a.html").is_file() and not (folder / "map.html").exists()


def test_a_map_needs_no_weights(folder):
    without_weights(folder)
    assert result_of(call("map", "--json"), "map")["has_weights"] is False


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


def without_weights(folder):
    program = Program.read(folder / "tiny.sbx")
    map_graph(program.graph, program.chip).write(folder / "tiny.sbx")
    return ("run",)


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

    monkeypatch.setattr(simulator.run_folder, "_write_activity", interrupt)
    done = call("run", *FEW)
    assert (done.exit_code, done.stdout) == (130, "")
    assert names(folder) == {"tiny.sbx"}
    assert list((folder / "runs").iterdir()) == []


def test_version_names_the_project():
    done = call("--version")
    assert done.exit_code == 0 and done.stdout.startswith("spikeloom ")


def test_a_program_without_weights_runs_with_random_counts_and_is_reported(folder):
    bare = map_graph(build(TINY, "tiny"), load_chip("toy"))
    bare.write(folder / "bare.sbx")
    done = call("run", "bare.sbx")
    assert done.exit_code == 3 and "--workload profile" in done.stderr
    counts = ("--workload", "profile", "--seed", "7", "--prompt-tokens", "3", "--tokens", "2")
    found = result_of(call("run", "bare.sbx", *counts, "--json"), "run")
    assert (found["workload"], found["text"], found["prompt_tokens"]) == ("profile", "", 3)
    assert found["counts_from"].startswith("drawn with seed 7: SpikingBrain-7B")
    assert found["joules_per_token"]["nominal"] > 0
    told = call("run", "bare.sbx", *counts, "--out", "again").stdout
    assert told.startswith(" workload profile") and "3 tokens of prompt" in told
    report = call("report", "again", "--html", "page.html").stdout
    assert "workload profile" in report and "drawn at random, nothing was computed" in report
    assert "workload profile" in (folder / "page.html").read_text()
    assert "blockquote>" not in (folder / "page.html").read_text()


def test_a_run_is_replayed_from_its_folder_or_its_table(folder):
    run = result_of(call("run", *FEW, "--out", "one", "--json"), "run")
    for name in ("one", "one/activity.parquet"):
        words = ("--workload", "replay", "--activity", name, "--json")
        again = result_of(call("run", *words), "run")
        assert again["workload"] == "replay"
        for key in ("joules_per_token", "tokens_per_s", "time_to_first_token_s", "prompt_tokens"):
            assert again[key] == run[key]


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

"""sbsim as typed: what it writes and prints."""

import json
import os
from pathlib import Path

import pytest

import simulator.api
import simulator.run_folder
from compiler.frontends.gla_swa import build
from compiler.pipeline import map_graph
from compiler.program import Program
from hw_models.chip import load_chip
from hw_models.errors import GateFailed
from tests.simulator.typed import FEW, TINY, call, contents, names, result_of, without_weights


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


SAMPLE = ("--workload", "profile", "--context", "1k", "--sample", "8")


def test_a_long_text_is_sampled_and_estimated(folder):
    done = call("run", *SAMPLE, "--seed", "3")
    assert done.exit_code == 0, done.stderr
    assert "8 of 1,021 decoded tokens simulated, of a context of 1,024 (seed 3)" in done.stdout
    for what in ("decode, 8 windows", "mean of 8 ", "per token", " 1,021 tokens", "± (95 %)"):
        assert what in done.stdout
    found = result_of(call("run", *SAMPLE, "--json"), "run")
    s = found["sampled"]
    assert (s["context"], s["prompt"], s["decoded"], s["seed"]) == (1024, 3, 1021, 0)
    assert len(s["windows"]) == 8 and "Cochran" in s["method"] and s["confidence"] == 0.95
    time = s["estimates"]["seconds"]
    assert time["low"] < time["total"] < time["high"]
    assert time["per_token"] == time["total"] / 1021
    assert time["per_simulated_token"] == sum(w["ps"] for w in s["windows"]) * 1e-12 / 8


def test_a_context_is_a_length_also_without_a_sample(folder):
    found = result_of(call("run", "--context", "6", "--json"), "run")
    same = result_of(call("run", "--tokens", "4", "--json"), "run")
    assert found == same | {"run_dir": found["run_dir"]} and found["sampled"] is None


def test_a_functional_text_is_sampled_by_a_seed_of_its_own(folder):
    words = ("run", "--context", "40", "--sample", "4", "--json", "--seed")
    one, other = (result_of(call(*words, seed), "run") for seed in "12")
    assert one["text"] == other["text"] and one["counts_from"].startswith("computed")
    assert one["sampled"]["windows"] != other["sampled"]["windows"]


def test_a_report_of_a_sampled_run_shows_both_and_says_which(folder):
    assert call("run", *SAMPLE, "--out", "some").exit_code == 0
    text = call("report", "some")
    assert text.exit_code == 0, text.stderr
    for what in ("8 of 1,021 decoded tokens simulated", "decode, 8 windows", "decode: 8 tokens"):
        assert what in text.stdout
    assert "Sampled: 8 of 1,021 decoded tokens were simulated" in " ".join(text.stdout.split())
    page = (folder / "report.html").read_text()
    assert 'id="sampled"' in page and "estimated,\n1,021 tokens" in page and "Cochran" in page
    found = result_of(call("report", "some", "--json"), "report")
    estimates = found["sampled"]["estimates"]
    total = estimates["joules"]
    assert total["per_token_margin"] == total["margin"] / 1021
    assert total["simulated"] / 8 == pytest.approx(found["headline"]["joules_per_token"]["nominal"])
    assert estimates["context_joules"]["total"] > total["total"]

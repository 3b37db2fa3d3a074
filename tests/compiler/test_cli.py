"""sbcompile as typed: what it writes and prints, and how it refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

import compiler.pipeline
import compiler.quantize
from compiler.program import Program
from examples.byte_lm.model import random_checkpoint
from hw_models import errors
from tests.compiler.typed import TINY, call, contents

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "hw_models" / "chips" / "toy.toml"


def toy_with(folder, old, new):
    """A copy of the toy chip's file with one change."""
    text = TOY.read_text()
    assert text.count(old) == 1, old
    (folder / "changed.toml").write_text(text.replace(old, new))
    return "changed.toml"


def test_a_program_is_written_beside_the_user_and_named_after_the_model(folder):
    done = call("tiny.pt", "--target", "toy")
    assert done.exit_code == 0, done.stderr
    assert {p.name for p in folder.iterdir()} == {"tiny.pt", "tiny.sbx"}
    assert done.stdout.rstrip().endswith("wrote tiny.sbx")
    for step in compiler.pipeline.STEPS:
        assert f"{step}: " in done.stderr
        assert f"{step}: " not in done.stdout


def test_a_published_folder_keeps_its_whole_name(folder):
    published = folder / "Brain-v1.5"
    published.mkdir()
    checkpoint = random_checkpoint(TINY, seed=0)
    (published / "config.json").write_text(json.dumps(checkpoint["config"]))
    save_file(checkpoint["state_dict"], published / "model.safetensors")
    done = call("Brain-v1.5/", "--target", "toy")
    assert done.exit_code == 0, done.stderr
    assert Program.read(folder / "Brain-v1.5.sbx").graph.model == "Brain-v1.5"


def test_options_reach_the_program(folder):
    done = call(
        *("tiny.pt", "--target", "toy", "-o", "other.sbx", "--coding", "ternary", "--k", "2"),
        *(
            "--prompt",
            "né",
            "--tokens",
            "5",
            "--set",
            "core.lanes = 8",
            "--set",
            "core.in_axons=99",
        ),
    )
    assert done.exit_code == 0, done.stderr
    program = Program.read(folder / "other.sbx")
    assert (program.coding, program.k) == ("ternary", 2.0)
    assert (bytes(program.prompt.ids), program.prompt.tokens) == ("né".encode(), 5)
    assert (program.chip.core.lanes, program.chip.core.in_axons) == (8, 99)


def test_a_prompt_file_is_taken_byte_for_byte(folder):
    (folder / "prompt").write_bytes(b"\xff\x00\r\n")
    assert call("tiny.pt", "--target", "toy", "--prompt-file", "prompt").exit_code == 0
    assert Program.read(folder / "tiny.sbx").prompt.ids == (255, 0, 13, 10)


def test_token_ids_are_taken_as_they_are_or_from_a_file(folder):
    (folder / "ids").write_text("[3, 1,\n 255]")
    for words, ids in (("7,8", (7, 8)), ("ids", (3, 1, 255))):
        assert call("tiny.pt", "--target", "toy", "--token-ids", words).exit_code == 0
        assert Program.read(folder / "tiny.sbx").prompt.ids == ids


def test_context_is_how_far_full_attention_looks_back(folder):
    save_bare_config(folder / "config.json")
    for words, window in ((("--context", "7"), 7), ((), 100)):
        done = call("config.json", "--target", "toy", *words, "-o", "a.sbx")
        assert done.exit_code == 0, done.stderr
        assert Program.read(folder / "a.sbx").graph.stages[1].window == window


def save_bare_config(path):
    """A small model of the family `llama`, without weights."""
    sizes = {key: getattr(TINY, key) for key in TINY.__slots__ if key.endswith(("size", "heads"))}
    more = {"num_hidden_layers": 1, "max_position_embeddings": 100}
    path.write_text(json.dumps({"model_type": "llama"} | sizes | more))


def test_a_config_alone_gives_a_program_that_says_it_has_no_weights(folder):
    (folder / "My-Model").mkdir()
    save_bare_config(folder / "My-Model" / "config.json")
    for model in ("My-Model", "My-Model/config.json"):
        done = call(model, "--target", "toy")
        assert done.exit_code == 0, done.stderr
        assert "none in this program" in done.stdout
        assert done.stdout.rstrip().endswith("wrote My-Model.sbx")
        program = Program.read(folder / "My-Model.sbx")
        assert program.graph.model == "My-Model" and not program.has_weights
        (folder / "My-Model.sbx").unlink()


def test_a_preset_needs_no_model_and_names_the_program(folder, monkeypatch):
    from compiler.frontends import read

    monkeypatch.setattr(read, "PRESETS", folder)
    save_bare_config(folder / "small-1b.json")
    done = call("--preset", "small-1b", "--target", "toy", "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert (result["program"], result["has_weights"]) == ("small-1b.sbx", False)
    assert not Program.read(folder / "small-1b.sbx").has_weights


def half_downloaded(folder):
    """Other weights than those that are read are no reason to do without."""
    (folder / "m").mkdir()
    save_bare_config(folder / "m" / "config.json")
    (folder / "m" / "model-00001-of-00002.safetensors").touch()
    return "m"


def bad_tokenizer(folder):
    (folder / "m").mkdir()
    save_bare_config(folder / "m" / "config.json")
    (folder / "m" / "tokenizer.json").write_text("{}")
    return "m"


def no_ids_in_the_file(folder):
    (folder / "ids").write_text("1, 2, three")
    return "tiny.pt", "--token-ids", "ids"


def test_the_same_command_writes_the_same_bytes(folder):
    assert call("tiny.pt", "--target", "toy", "-o", "a.sbx").exit_code == 0
    assert call("tiny.pt", "--target", "toy", "-o", "b.sbx").exit_code == 0
    assert (folder / "a.sbx").read_bytes() == (folder / "b.sbx").read_bytes()


def test_json_is_the_whole_of_stdout(folder):
    done = call("tiny.pt", "--target", "toy", "--json")
    found = json.loads(done.stdout)
    program = Program.read(folder / "tiny.sbx")
    assert (found["format"], found["version"]) == ("spikeloom-mapping", 1)
    result = found["result"]
    assert result["program"] == "tiny.sbx"
    assert result["program_sha256"] == program.hash
    assert (result["n_cores"], result["n_chips"]) == (program.n_cores, program.n_chips)


def missing_model(folder):
    return "nowhere.pt"


def cut_model(folder):
    (folder / "cut.pt").write_bytes((folder / "tiny.pt").read_bytes()[:2000])
    return "cut.pt"


def text_as_model(folder):
    (folder / "notes.pt").write_text("hello")
    return "notes.pt"


def empty_file(folder):
    (folder / "empty").touch()
    return "tiny.pt", "--prompt-file", "empty"


def unknown_target(folder):
    return "tiny.pt", "--target", "loihi-lik"


def key_with_a_typo(folder):
    return "tiny.pt", "--target", toy_with(folder, "lanes = 4", "lames = 4")


def negative_energy(folder):
    return "tiny.pt", "--target", toy_with(folder, '"1 pJ"', '"-1 pJ"')


def farads(folder):
    return "tiny.pt", "--target", toy_with(folder, '"1 pJ"', '"5 pF"')


def no_toml(folder):
    (folder / "changed.toml").write_text("core = {")
    return "tiny.pt", "--target", "changed.toml"


def pipe_as_destination(folder):
    os.mkfifo(folder / "pipe")
    return "tiny.pt", "--target", "toy", "--out", "pipe"


def latin_name(folder):
    shutil.copy("tiny.pt", folder / os.fsdecode(b"caf\xe9.pt"))
    return os.fsdecode(b"caf\xe9.pt"), "--target", "toy", "--out", "a.sbx"


def small_memory(folder):
    return "tiny.pt", "--target", "toy", "--set", "core.synapse_memory=16 B"


REFUSED = [
    (missing_model, 3, ["nowhere.pt"]),
    (cut_model, 3, ["cut.pt"]),
    (text_as_model, 3, ["notes.pt"]),
    (empty_file, 3, ["the prompt is empty", "empty"]),
    (unknown_target, 3, ["loihi-lik", "loihi-like", "toy", "fix:"]),
    (key_with_a_typo, 3, ["changed.toml", "core.lames", "lanes"]),
    (negative_energy, 3, ["changed.toml", "cost.", "-1 pJ"]),
    (farads, 3, ["changed.toml", "cost.", "'5 pF' is not a number with one of", "pJ"]),
    (no_toml, 3, ["changed.toml", "not a TOML file"]),
    (pipe_as_destination, 3, ["pipe", "not a plain file"]),
    (latin_name, 3, [r"caf\udce9.pt", "no UTF-8", "rename"]),
    (small_memory, 5, ["synapse memory"]),
    ("tiny.pt --target loihi1", 4, ["loihi1 lacks", "graded spikes", "multicast", "vector work"]),
    ("tiny.pt --target truenorth-like", 4, ["truenorth-like lacks", "8-bit weights", "multicast"]),
    (half_downloaded, 3, ["no model.safetensors"]),
    (bad_tokenizer, 3, ["not a usable tokenizer", "tokenizer.json", "--token-ids"]),
    (no_ids_in_the_file, 3, ["no list of token ids", "ids"]),
    ("tiny.pt --token-ids 1,x", 3, ["'1,x' is neither token ids nor a file", "--token-ids"]),
    ("tiny.pt --token-ids 1,-2", 3, ["'1,-2' is neither"]),
    ("tiny.pt --token-ids 1,256", 3, ["token id 256; the vocabulary has 256"]),
    ("tiny.pt --token-ids=", 3, ["neither token ids nor a file"]),
    ("tiny.pt --token-ids 1 --prompt a", 2, ["--prompt and --token-ids"]),
    ("tiny.pt --preset qwen2.5-7b", 2, ["a MODEL and a --preset"]),
    (
        "--preset qwen2.5-8b",
        3,
        ["'qwen2.5-8b'", "llama-3.1-8b, qwen2.5-7b, spikingbrain-76b, spikingbrain-7b"],
    ),
    ("--preset ../qwen2.5-7b", 3, ["no preset"]),
    ("--preset=", 3, ["no preset ''"]),
    (
        "--preset spikingbrain-76b --target hala-point-like",
        5,
        [
            "too little synapse memory for 70.32 GiB of weights",
            "576096 cores needed, 140544 usable on 1152 chips",
            "at least 4723 chips: --set layout.chips=[69, 69]",
        ],
    ),
    ("--preset qwen2.5-7b --context 0", 3, ["a context of 0 tokens"]),
    ("--preset qwen2.5-7b --context 131073", 3, ["a context of 131073 tokens"]),
    ("--preset qwen2.5-7b --prompt hello", 3, ["text has no token ids here", "--token-ids"]),
    ("tiny.pt --prompt=", 3, ["the prompt is empty", "--prompt"]),
    ("tiny.pt --prompt-file nowhere", 3, ["nowhere"]),
    ("tiny.pt --prompt a --prompt-file tiny.pt", 2, ["--prompt and --prompt-file"]),
    ("tiny.pt --tokens 0", 3, ["--tokens"]),
    ("tiny.pt --k 0", 3, ["--k"]),
    ("tiny.pt --k nan", 3, ["--k"]),
    ("tiny.pt --set core.lanes", 2, ["core.lanes", "--set"]),
    ("tiny.pt --set core.lanes=1 --set core.lanes=2", 2, ["set twice"]),
    ("tiny.pt --set core.lames=1", 3, ["core.lames", "lanes"]),
    ("tiny.pt --set core.lanes=0", 3, ["core.lanes", "more than 0"]),
    ("tiny.pt --out .", 3, ["is a folder"]),
    ("tiny.pt --out nowhere/a.sbx", 3, ["nowhere"]),
    ("tiny.pt --out tiny.pt", 2, ["overwrite"]),
    ("tiny.pt --coding morse", 2, ["morse", "bitwise"]),
    ("tiny.pt --frobnicate", 2, ["--frobnicate"]),
    ("", 2, ["neither a MODEL nor a --preset"]),
]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    REFUSED,
    ids=[w if isinstance(w, str) else w.__name__ for w, _, _ in REFUSED],
)
def test_bad_input_is_refused_in_a_sentence_and_leaves_nothing_behind(folder, words, code, said):
    words = words.split() if isinstance(words, str) else words(folder)
    words = (words,) if isinstance(words, str) else words
    before = contents(folder)
    done = call(*words)
    assert done.exit_code == code, done.stderr
    assert [w for w in said if w not in done.stderr] == []
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr
    assert done.stdout == ""
    assert contents(folder) == before


def test_a_place_that_cannot_be_written_is_refused_before_any_work(folder):
    assert "read: " not in call("tiny.pt", "--out", "nowhere/a.sbx").stderr


def test_too_few_chips_for_the_weights_are_told_before_any_pass(folder):
    done = call("--preset", "spikingbrain-76b", "--target", "loihi-like", "--estimate")
    assert done.exit_code == 5
    assert [f"{step}: " for step in compiler.pipeline.STEPS if f"{step}: " in done.stderr] == [
        "read: "
    ]


def test_a_refusal_keeps_the_program_that_was_there(folder):
    assert call("tiny.pt", "--target", "toy").exit_code == 0
    before = contents(folder)
    assert call(*small_memory(folder)).exit_code == 5
    assert contents(folder) == before


@pytest.mark.parametrize(
    "error", [e for e in vars(errors).values() if isinstance(e, type)], ids=lambda e: e.__name__
)
def test_every_error_says_what_where_and_how(folder, monkeypatch, error):
    def fail(*_, **__):
        raise error("too [much]", where="layer 3", fix="less")

    monkeypatch.setattr(compiler.pipeline, "map_model", fail)
    done = call("tiny.pt")
    assert done.exit_code == error.exit_code
    assert done.stderr == "error: too [much]\n  at: layer 3\n  fix: less\n"


def test_our_own_failure_asks_for_a_report_and_shows_its_traceback_on_demand(folder, monkeypatch):
    def fail(*_, **__):
        return 1 // 0

    monkeypatch.setattr(compiler.pipeline, "map_model", fail)
    done = call("tiny.pt")
    assert done.exit_code == 1
    assert "internal error: ZeroDivisionError" in done.stderr and "report" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("SPIKELOOM_DEBUG", "1")
    assert "Traceback" in call("tiny.pt").stderr


def test_interrupting_leaves_nothing_and_is_130(folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = contents(folder)
    monkeypatch.setattr(compiler.quantize.hot, "check", interrupt)
    done = call("tiny.pt", "--target", "toy")
    assert (done.exit_code, done.stdout) == (130, "")
    assert contents(folder) == before


def test_a_full_disk_is_no_bug_of_ours(folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "tiny.sbx")

    monkeypatch.setattr(Program, "write", full)
    done = call("tiny.pt", "--target", "toy")
    assert done.exit_code == 3
    assert "no space left on device" in done.stderr and "tiny.sbx" in done.stderr


def test_a_disk_that_fills_up_is_refused_and_keeps_what_was_there(folder):
    (folder / "tiny.sbx").write_text("old")
    before = contents(folder)
    limit = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (9_000, 9_000))"
    words = f"sys.argv[1:] = {['tiny.pt', '--target', 'toy']}"
    code = f"import sys; {limit}; {words}; from compiler.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "error: cannot be written" in done.stderr and "at: tiny.sbx" in done.stderr
    assert contents(folder) == before


def test_version_names_the_project():
    done = call("--version")
    assert done.exit_code == 0 and done.stdout.startswith("spikeloom ")

"""The mapping summary agrees with the program's own tables."""

import io
import json
from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from rich.console import Console

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build, tensor_shapes
from compiler.operations import layers_folded, operations
from compiler.pipeline import compile_graph, map_graph
from compiler.program import Prompt
from compiler.summary import render, summary
from examples.byte_lm.model import random_checkpoint
from hw_models.chip import load_chip

CONFIG = GlaSwaConfig(
    vocab_size=256,
    hidden_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=96,
    sliding_window=16,
)


@pytest.fixture(scope="module")
def program():
    torch.set_num_threads(1)
    graph = build(CONFIG, "[tiny]")
    return compile_graph(graph, random_checkpoint(CONFIG, 0)["state_dict"], load_chip("toy"))


def matrices():
    """Sizes of all weight matrices of the checkpoint but the embedding."""
    shapes = tensor_shapes(CONFIG)
    return [prod(s) for name, s in shapes.items() if len(s) == 2 and "embeddings" not in name]


def test_every_weight_is_one_mac_and_one_byte(program):
    found = summary(program)
    assert sum(op["macs"] for op in found["operations"].values()) == sum(matrices())
    assert found["macs_per_token"] == found["synapse_bytes"] == sum(matrices())
    assert found["synapse_memory_bytes"] == program.n_cores * 8192


def test_every_operation_says_where_it_runs_and_why(program):
    found = operations(program)
    assert list(found) == list(program.ops)
    for name, row in found.items():
        expected = {"host": "host", "linear": "event-driven"}.get(row["kind"], "neuron program")
        assert row["where"] == expected, name
        assert row["why"]
        assert (row["macs"] > 0) == (row["kind"] == "linear")
        assert (row["n_cores"] > 0) == (row["kind"] != "host")
    assert found["layers.0.gla"]["kind"] == "gla" and found["layers.1.window"]["kind"] == "window"


def test_linears_name_the_site_that_drives_them(program):
    found = operations(program)
    assert found["head"]["threshold"] == "absmax16" and found["head"]["coding"] == "graded"
    assert found["layers.2.down"]["site"] == "layers.2.down_in"
    assert found["layers.2.down"]["coding"] == "bitwise"


def test_every_site_is_encoded_by_one_stage_and_drives_one_linear(program):
    found = operations(program).values()
    for kinds in (lambda k: k == "linear", lambda k: k != "linear"):
        sites = sorted(row["site"] for row in found if kinds(row["kind"]) and "site" in row)
        assert sites == sorted(site.name for site in program.graph.sites)


def test_cores_of_an_operation_are_those_of_its_tasks(program):
    found = operations(program)
    tables = program.tables
    for i, name in enumerate(program.ops[1:], 1):
        rows = zip(tables.task_op.tolist(), tables.task_core.tolist(), strict=True)
        assert found[name]["n_cores"] == len({core for op, core in rows if op == i}), name


def test_folding_layers_loses_nothing(program):
    found = operations(program)
    rows = layers_folded(found)
    assert [r["operation"] for r in rows].count("o") == 1
    assert next(r for r in rows if r["operation"] == "o")["layers"] == CONFIG.num_hidden_layers
    for key in ("macs", "n_cores"):
        assert sum(r[key] for r in rows) == sum(op[key] for op in found.values())


def test_achieved_is_never_below_the_bound(program):
    bounds = summary(program)["bounds"]
    for what in ("cores", "chips"):
        row = bounds[what]
        assert row["achieved"] >= row["bound"] >= 1
        assert row["ratio"] == row["achieved"] / row["bound"]


def test_a_summary_is_plain_json(program):
    found = summary(program)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_summary_fits_a_terminal_and_shows_every_operation(program):
    out = io.StringIO()
    found = summary(program)
    render(found, Console(file=out, width=100, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("[tiny] on toy")
    for row in layers_folded(found["operations"]):
        line = next(text for text in lines if text.split()[:1] == [row["operation"]])
        assert row["where"] in line and row["why"] in line
    ratio = found["bounds"]["cores"]["ratio"]
    assert any(f"{ratio:.3f}" in text for text in lines)


@pytest.mark.parametrize(
    ("target", "size", "per_weight"),
    [("isaac-like", (128, 128), 4), ("hermes-like", (256, 512), 2)],
)
def test_a_crossbar_tells_its_arrays_and_how_full_they_are(target, size, per_weight):
    graph = build(CONFIG, "[tiny]")
    weights = random_checkpoint(CONFIG, 0)["state_dict"]
    found = summary(compile_graph(graph, weights, load_chip(target)))
    arrays = found["arrays"]
    assert (arrays["rows"], arrays["columns"]) == size
    # every matrix here has 64 or 96 inputs: one row of arrays, side by side for its neurons
    side_by_side = size[1] // per_weight
    wanted = sum(-(-lin.n_post // side_by_side) for lin in graph.linears)
    assert arrays["n"] == wanted == found["bounds"]["arrays by cells"]["achieved"]
    share = per_weight * sum(matrices()) / (wanted * prod(size))
    assert arrays["utilisation"] == pytest.approx(share)
    assert found["synapse_bytes"] == sum(matrices())
    out = io.StringIO()
    render(found, Console(file=out, width=100, highlight=False))
    assert f"{share:.1%} of them in use" in out.getvalue()
    where = {row["where"] for row in found["operations"].values() if row["kind"] == "linear"}
    assert where == {"crossbar"}


def test_a_digital_target_tells_of_no_arrays(program):
    assert summary(program)["arrays"] is None


def test_a_summary_says_how_text_becomes_ids_and_whether_there_are_weights(program):
    bare = map_graph(program.graph, program.chip, prompt=Prompt((1, 2, 3), 9))
    words = replace(bare, graph=build(replace(CONFIG, vocab_size=300), "words"))
    tokenizer = np.frombuffer(b"{}", np.uint8)
    for made, kind, weights, said in (
        (program, "bytes", True, ["in the program", "bytes are token ids"]),
        (bare, "bytes", False, ["none in this program", "3 tokens, then 9 decoded"]),
        (words, "ids", False, ["prompts are --token-ids"]),
        (replace(words, tokenizer=tokenizer), "tokenizer", False, ["the model's tokenizer.json"]),
    ):
        found, out = summary(made), io.StringIO()
        assert (found["text"], found["has_weights"]) == (kind, weights)
        assert found["prompt_tokens"] == len(made.prompt.ids)
        render(found, Console(file=out, width=100, highlight=False))
        assert [words for words in said if words not in out.getvalue()] == []

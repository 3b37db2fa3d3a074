"""sbcompile --estimate, --explain, --graph, --csv and --time-budget, as typed."""

import json

import pytest

from compiler.operations import layers_folded
from compiler.program import Program
from tests import experts
from tests.compiler.typed import call, contents


def test_an_estimate_writes_no_program_and_is_what_the_first_layout_needs(folder):
    before = contents(folder)
    first, again = (call("tiny.pt", "--target", "toy", "--estimate", "--json") for _ in range(2))
    assert first.exit_code == 0 and contents(folder) == before
    assert first.stdout == again.stdout
    estimated = json.loads(first.stdout)["result"]
    assert estimated["program"] is None and estimated["written"] == []
    mapped = json.loads(call("tiny.pt", "--target", "toy", "--json").stdout)["result"]
    for what in ("cores", "chips"):
        assert estimated["bounds"][what] == mapped["bounds"][what]
    mesh = "bits x links of the mesh"
    assert estimated["bounds"][mesh]["achieved"] >= mapped["bounds"][mesh]["achieved"]
    assert "an estimate" in call("tiny.pt", "--target", "toy", "--estimate").stdout


def test_operations_are_explained_beside_the_summary(folder):
    found = call("tiny.pt", "--target", "toy", "--explain", "layers.0.o", "--explain", "host")
    assert found.exit_code == 0 and (folder / "tiny.sbx").is_file()
    lines = found.stdout.splitlines()
    assert [line for line in lines if line.startswith(("layers.0.o:", "host:"))] != []
    told = call("tiny.pt", "--target", "toy", "--json", "--explain", "layers.0.o")
    (explained,) = json.loads(told.stdout)["result"]["explained"]
    assert explained["operation"] == "layers.0.o" and explained["macs"] == 32 * 32


def test_experts_are_explained_with_their_share_of_the_tokens(folder):
    (folder / "config.json").write_text(json.dumps(experts.CONFIG))
    asked = ("config.json", "--target", "toy", "--estimate", "--explain")
    done = call(*asked, "layers.1.experts.3.down")
    assert done.exit_code == 0, done.stderr
    assert "25.0 %" in done.stdout and "864 per token that runs it" in done.stdout
    router = json.loads(call(*asked, "layers.1.route", "--json").stdout)["result"]
    (told,) = router["explained"]
    assert (told["kind"], told["share"]) == ("router", 1.0)
    # index and weight of the chosen one, to whoever sends to experts and adds them up
    assert {row["operation"] for row in told["sends"]} == {
        "layers.1.mlp_norm",
        "layers.2.attn_norm",
    }
    folded = {row["operation"]: row for row in layers_folded(router["operations"])}
    assert folded["experts.down"]["layers"] == 8 and folded["experts.down"]["macs"] == 2 * 36 * 24


def test_graph_and_table_are_written_beside_the_program(folder):
    found = call("tiny.pt", "--target", "toy", "--graph", "g.graphml", "--csv", "t.csv")
    assert found.exit_code == 0
    assert [f"wrote {name}" in found.stdout for name in ("tiny.sbx", "g.graphml", "t.csv")] == [
        True
    ] * 3
    assert (folder / "g.graphml").read_text().startswith("<graphml")
    assert (folder / "t.csv").read_text().startswith("operation,layer,")


def test_a_time_budget_is_kept_and_the_result_still_verified(folder):
    found = call("tiny.pt", "--target", "toy", "--time-budget", "0.01", "--json")
    assert found.exit_code == 0
    assert Program.read(folder / "tiny.sbx").n_cores > 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--estimate", "--out", "a.sbx"], 2, "writes no program"),
        (["--graph", "g.png"], 2, "unknown format"),
        (["--graph", "missing/g.dot"], 3, "cannot write there"),
        (["--csv", "."], 3, "is a folder"),
        (["--explain", "layers.0.oo"], 3, "nearest known one is layers.0.o"),
        (["--time-budget", "0"], 2, "time budget of 0 s"),
        (["--time-budget", "nan"], 2, "time budget of nan s"),
    ],
)
def test_extras_that_cannot_be_are_refused_and_leave_nothing_behind(folder, words, code, said):
    before = contents(folder)
    found = call("tiny.pt", "--target", "toy", *words)
    assert found.exit_code == code
    assert said in found.stderr and found.stdout == ""
    assert contents(folder) == before

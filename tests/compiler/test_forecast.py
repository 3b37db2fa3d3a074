"""A forecast agrees with itself: joules, bits and cores add up to those of the whole."""

import csv
import io
import json
from collections import Counter

import networkx
import numpy as np
import pytest
from rich.console import Console

from compiler.accounting import tree_traffic
from compiler.expected import TOKENS
from compiler.explain import check_operation, explain
from compiler.explain_text import render_explained
from compiler.forecast import forecast
from compiler.graph_file import dot, graph_of, graphml, write_graph
from compiler.layer_table import layer_table
from compiler.operations import layer_of, operations
from compiler.program import HOST, TILE
from hw_models.errors import BadInput
from hw_models.ledger import STATIC
from tests import experts
from tests.tiny import tiny


@pytest.fixture(scope="module", params=["toy", "hala-point-like", "isaac-like", "experts"])
def found(request):
    if request.param == "experts":
        return forecast(experts.program())
    return forecast(tiny(target=request.param))


def table(found):
    return list(csv.DictReader(io.StringIO(layer_table(found))))


def test_joules_of_operations_and_static_power_are_all_joules(found):
    static = sum(row.joules.nominal for row in found.ledger.priced if row.level == STATIC) / TOKENS
    total = sum(found.joules_by_operation.values()) + static
    assert total == pytest.approx(found.joules.nominal, rel=1e-12)
    assert found.levels()[STATIC] == found.joules


def test_static_power_is_paid_for_the_time_of_a_token(found):
    watts = found.program.chip.static_power.nominal * found.program.n_chips
    (row,) = (row for row in found.ledger.priced if row.level == STATIC)
    seconds = found.pace.token_ps * 1e-12
    assert row.joules.nominal / TOKENS == pytest.approx(watts * seconds, rel=1e-9)


def test_bits_between_operations_are_the_bits_of_all_trees_per_receiving_operation(found):
    t = found.program.tables
    _, bits = tree_traffic(found.program, found.facts, found.seen)
    wanted = Counter()
    for tree, task in enumerate(t.tree_task):
        nodes, sinks = [int(t.tree_root[tree])], []
        sinks += range(t.tree_first_local[tree], t.tree_last_local[tree])
        while nodes and nodes[-1] >= 0:
            node = nodes.pop()
            sinks += range(t.node_first_sink[node], t.node_last_sink[node])
            nodes += range(t.node_first_child[node], t.node_last_child[node])
        for op in {int(t.task_op[t.sink_task[sink]]) for sink in sinks}:
            key = found.program.ops[t.task_op[task]], found.program.ops[op]
            wanted[key] += int(bits[tree])
    told = Counter()
    for (sender, receiver, _), n in found.bits_between.items():
        told[sender, receiver] += n
    assert {key: round(n * TOKENS) for key, n in told.items()} == dict(wanted)


def test_an_explained_operation_holds_what_its_tasks_hold(found):
    program, t = found.program, found.program.tables
    for index, name in enumerate(program.ops):
        told = explain(found, name)
        mine = [
            i for i in range(t.task_op.size) if t.task_op[i] == index and t.task_kind[i] != HOST
        ]
        tiles = [i for i in mine if t.task_kind[i] == TILE]
        cores = {int(t.task_core[i]) for i in mine}
        assert sum(row["cores"] for row in told["chips"]) == len(cores) == told["n_cores"]
        assert {row["chip"] for row in told["chips"]} == {program.mesh.chip_of(c) for c in cores}
        synapses = sum(int(t.task_n_pre[i]) * int(t.task_neuron_n[i]) for i in tiles)
        assert told["needs"]["synapse memory"] == synapses
        assert sum(row["times"] for row in told["tiles"]) == len(tiles)
        if told["kind"] == "linear":
            assert synapses == told["macs"]
        assert told["energy_j"] == pytest.approx(
            sum(row["energy_j"] or 0 for row in told["events"]), rel=1e-12
        )
        for use in told["fullest_core"].values():
            assert 0 <= use["used"] <= use["limit"]
        assert told["busy_ps"] == max((found.pace.core_ps[c] for c in cores), default=0)
        assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_senders_and_receivers_tell_the_same(found):
    told = {name: explain(found, name) for name in found.program.ops}
    sends = {
        (a, row["operation"], row["message"]): row["bits"] for a in told for row in told[a]["sends"]
    }
    receives = {
        (row["operation"], b, row["message"]): row["bits"]
        for b in told
        for row in told[b]["receives"]
    }
    assert sends == receives
    assert all(a != b for a, b, _ in sends)


def test_an_unknown_operation_is_refused_with_the_nearest():
    with pytest.raises(BadInput, match=r"nearest known one is layers\.0\.qkvg"):
        check_operation(tiny(), "layers.0.qkv")


def test_an_explanation_fits_a_terminal_and_says_who_pays(found):
    out = io.StringIO()
    for name in found.program.ops:
        render_explained(explain(found, name), Console(file=out, width=100, highlight=False))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    some = any(row["share"] < 1 for row in operations(found.program).values())
    assert ("of all tokens, expected" in text) == ("per token that runs it" in text) == some
    included = {row.cost for row in found.ledger.included}
    assert all(f"in {cost}" in text for cost in included)
    assert ("not priced" in text) == bool(found.ledger.unpriced)


def test_the_table_has_a_line_for_every_operation_and_adds_up(found):
    rows = table(found)
    assert [row["operation"] for row in rows] == list(found.program.ops)
    energy = sum(float(row["energy_j"]) for row in rows)
    assert energy == pytest.approx(sum(found.joules_by_operation.values()))
    assert sum(int(row["macs"]) for row in rows) == found.program.graph.macs()
    t = found.program.tables
    assert sum(int(row["tiles"]) for row in rows) == (t.task_kind == TILE).sum()
    assert sum(int(row["state_bytes"]) for row in rows) == t.task_state[t.task_kind != HOST].sum()
    for row in rows:
        assert row["layer"] == (
            "" if layer_of(row["operation"]) is None else row["operation"].split(".")[1]
        )


def test_the_graph_has_every_operation_and_every_pair_that_talks(found, tmp_path):
    graph = graph_of(found)
    assert set(graph.nodes) == set(found.program.ops)
    assert graph.number_of_edges() == len(found.bits_between)
    path = tmp_path / "graph.graphml"
    write_graph(found, path)
    again = networkx.read_graphml(path, force_multigraph=True)
    assert path.read_text() == graphml(graph)
    assert dict(again.nodes.items()) == dict(graph.nodes.items())
    edges = sorted((a, b, sorted(d.items())) for a, b, d in graph.edges(data=True))
    assert edges == sorted((a, b, sorted(d.items())) for a, b, d in again.edges(data=True))


def test_dot_frames_layers_and_quotes_names(found, tmp_path):
    graph = graph_of(found)
    graph.graph["model"] = 'a "name" \\ with\nlines'
    text = dot(graph)
    assert 'label="a \\"name\\" \\\\ with\\nlines"' in text
    layers = {layer_of(name) for name in operations(found.program)} - {None}
    assert text.count("subgraph") == len(layers)
    assert text.count("{") == text.count("}")
    assert text.count(" -> ") == graph.number_of_edges()
    write_graph(found, tmp_path / "graph.gv")
    assert (tmp_path / "graph.gv").read_text().startswith("digraph {")


def test_cores_that_nothing_is_expected_of_are_not_busy(found):
    idle = np.setdiff1d(np.arange(found.program.mesh.n_cores), found.program.tables.task_core)
    assert found.busy_ps(idle) == 0

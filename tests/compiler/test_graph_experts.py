"""Conditional linears, routers and parallel attention: what fits together."""

from dataclasses import fields, replace

import pytest
import torch

from compiler.audit.graph import verify
from compiler.graph import Linear, Parallel, Residual, Router, Swiglu, feeds, reads
from compiler.pipeline import compile_graph
from compiler.program import Program
from compiler.weights import quantize
from compiler.weights import verify as verify_numbers
from hw_models.chip import load_chip
from hw_models.errors import BadInput, Bug
from tests.experts import mixture

GRAPH, TENSORS, NUMBERS = mixture()
ROUTE = "layers.1.route"


def named(name):
    return next(node for node in (*GRAPH.stages, *GRAPH.linears, *GRAPH.sites) if node.name == name)


def altered(name, /, **changes):
    """GRAPH with one node changed."""

    def swap(nodes):
        return tuple(replace(n, **changes) if n.name == name else n for n in nodes)

    parts = (swap(GRAPH.stages), swap(GRAPH.sites), swap(GRAPH.linears))
    return replace(GRAPH, stages=parts[0], sites=parts[1], linears=parts[2])


def test_a_norm_is_encoded_for_spiking_experts_and_once_more_for_their_router():
    verify(GRAPH)
    norm = named("layers.1.mlp_norm")
    assert feeds(norm) == ("layers.1.mlp_in", "layers.1.router_in")
    assert [s.threshold for s in GRAPH.sites_of(norm)] == ["mean-abs", "absmax16"]
    driven = [(lin.name, lin.condition) for lin in GRAPH.linears if lin.site == "layers.1.mlp_in"]
    assert driven == [
        ("layers.1.shared.gate_up", None),
        *((f"layers.1.experts.{e}.gate_up", (ROUTE, e)) for e in range(4)),
    ]
    assert GRAPH.linear_from("layers.1.mlp_in").name == "layers.1.shared.gate_up"
    assert GRAPH.linear_from("layers.1.router_in").name == "layers.1.router"


def test_the_residual_stream_reads_the_shared_and_every_routed_expert():
    later = named("layers.2.attn_norm")
    downs = tuple(f"layers.1.experts.{e}.down" for e in range(4))
    assert (later.router, reads(later)) == (ROUTE, ("layers.1.shared.down", *downs))
    assert [named(n).condition for n in downs] == [(ROUTE, e) for e in range(4)]
    assert reads(named("layers.0.attn_norm")) == ()
    assert feeds(named(ROUTE)) == feeds(GRAPH.stages[-1]) == ()


@pytest.mark.parametrize(("two_of_five", "active", "size"), [(False, 1, 4), (True, 2, 5)])
def test_macs_are_those_of_the_experts_that_run(two_of_five, active, size):
    d, kv = 24, 8
    attention = 3 * ((d + 2 * kv) * d + d * d)
    experts = 2 * (3 * d * (140 + active * 36) + size * d)
    assert mixture(two_of_five)[0].macs() == attention + 3 * d * 40 + experts + 23 * d


# ---- a node that exists is valid


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top_k": 0}, "0 of 4 experts"),
        ({"top_k": 5}, "5 of 4 experts"),
        ({"n": 0}, "1 of 0 experts"),
        ({"n": -3}, "1 of -3 experts"),
        ({"scoring": "relu"}, "scored by 'relu'"),
    ],
)
def test_a_router_chooses_some_of_what_there_is(changes, said):
    with pytest.raises(BadInput, match=said) as refused:
        replace(named(ROUTE), **changes)
    assert refused.value.where == ROUTE


@pytest.mark.parametrize(
    "changes",
    [{"heads": 5}, {"kv_heads": 0}, {"head_dim": 3}, {"window": 0}, {"sinks": 0}, {"heads": -6}],
)
def test_parallel_attention_has_whole_groups_of_heads_and_something_to_see(changes):
    with pytest.raises(BadInput):
        replace(named("layers.1.parallel"), **changes)


@pytest.mark.parametrize("changes", [{"experts": ()}, {"router": None}, {"linear": None}], ids=str)
def test_experts_a_router_and_a_shared_linear_come_together(changes):
    with pytest.raises(BadInput, match="experts need a router"):
        replace(named("layers.2.attn_norm"), **changes)


# ---- nodes that do not belong together


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        # another expert's weights, no expert's, another router's
        ("layers.1.experts.2.down", {"condition": (ROUTE, 1)}, "drives more than"),
        ("layers.1.experts.2.down", {"condition": None}, "drives more than"),
        ("layers.1.experts.2.gate_up", {"condition": ("layers.2.route", 2)}, "runs only under"),
        ("layers.1.experts.2.gate_up", {"condition": (ROUTE, 1)}, "one site drives two linears"),
        ("layers.1.experts.2.gate_up", {"condition": None}, "one site drives two linears"),
        # something that always runs behind something that does not
        ("layers.1.shared.down", {"condition": (ROUTE, 0)}, "runs only under"),
        ("layers.1.router", {"condition": (ROUTE, 0)}, "runs only under"),
        ("layers.2.qkv", {"condition": (ROUTE, 0)}, "runs only under"),
        # the sum of other experts
        ("layers.2.attn_norm", {"router": "layers.2.route"}, "not the experts of layers.2.route"),
        ("layers.2.attn_norm", {"router": "nowhere"}, "not the experts of nowhere"),
        (
            "layers.2.attn_norm",
            {"experts": tuple(f"layers.1.experts.{e}.down" for e in (1, 0, 2, 3))},
            "not the experts of",
        ),
        # widths, thresholds, names
        (ROUTE, {"n": 5}, "another width"),
        ("layers.1.experts.1.swiglu", {"n": 35}, "another width"),
        ("layers.1.parallel", {"kv_heads": 3}, "another width"),
        ("layers.1.router_in", {"threshold": "mean-abs"}, "absmax16"),
        (ROUTE, {"name": "layers.2.route"}, "share a name"),
    ],
)
def test_what_does_not_belong_together(name, changes, said):
    with pytest.raises(Bug, match=said):
        verify(altered(name, **changes))


def test_experts_of_one_router_are_alike():
    graph = GRAPH
    for name in ("gate_up", "swiglu", "down_in", "down"):
        at = f"layers.1.experts.3.{name}"
        node = next(n for n in (*graph.stages, *graph.sites, *graph.linears) if n.name == at)
        match node:
            case Linear() if name == "gate_up":
                parts = tuple(replace(p, rows=(0, 30)) for p in node.parts)
                new = replace(node, n_post=60, parts=parts)
            case Linear():
                new = replace(node, n_pre=30)
            case _:
                new = replace(node, n=30)
        for field in ("stages", "sites", "linears"):
            nodes = tuple(new if n is node else n for n in getattr(graph, field))
            graph = replace(graph, **{field: nodes})
    with pytest.raises(Bug, match="differ in size") as refused:
        verify(graph)
    assert refused.value.where == ROUTE


def test_a_router_comes_before_its_experts():
    stages = list(GRAPH.stages)
    at = next(i for i, s in enumerate(stages) if s.name == ROUTE)
    shared, expert = stages[at + 1 : at + 3]
    assert isinstance(shared, Swiglu) and expert.linear == "layers.1.experts.0.gate_up"
    verify(replace(GRAPH, stages=(*stages[:at], shared, stages[at], expert, *stages[at + 3 :])))
    with pytest.raises(Bug, match="runs only under"):
        verify(replace(GRAPH, stages=(*stages[:at], shared, expert, stages[at], *stages[at + 3 :])))


def test_a_linear_is_read_once():
    twice = replace(named("layers.1.shared.swiglu"), name="again", site="layers.0.down_in")
    with pytest.raises(Bug, match="read twice"):
        verify(replace(GRAPH, stages=(*GRAPH.stages[:-1], twice, GRAPH.stages[-1])))


# ---- weights, files, and what has no place on cores yet


def test_every_tensor_becomes_a_linear_or_a_vector():
    verify_numbers(NUMBERS, GRAPH, TENSORS)
    assert NUMBERS.linears.keys() == {lin.name for lin in GRAPH.linears}
    weights = {p.weight for lin in GRAPH.linears for p in lin.parts}
    biases = {p.bias for lin in GRAPH.linears for p in lin.parts} - {None}
    assert {*weights, *biases, *NUMBERS.vectors, GRAPH.embedding} == set(TENSORS)


@pytest.mark.parametrize("name", ["sink_key", "sink_value", "linear_norm.weight"])
def test_a_vector_that_is_no_number_is_named(name):
    name = f"model.layers.2.self_attn.{name}"
    broken = TENSORS[name].clone()
    broken.view(-1)[-1] = torch.inf
    with pytest.raises(BadInput, match="NaN or infinity") as refused:
        quantize(GRAPH, TENSORS | {name: broken})
    assert refused.value.where == name


def test_a_program_keeps_the_graph(tmp_path):
    compile_graph(GRAPH, TENSORS, load_chip("toy")).write(tmp_path / "mixture.sbx")
    again = Program.read(tmp_path / "mixture.sbx").graph
    assert again == GRAPH
    for kind in (Parallel, Router, Residual):
        old, new = (next(s for s in g.stages[::-1] if isinstance(s, kind)) for g in (GRAPH, again))
        assert {f.name: type(getattr(new, f.name)) for f in fields(kind)} == {
            f.name: type(getattr(old, f.name)) for f in fields(kind)
        }

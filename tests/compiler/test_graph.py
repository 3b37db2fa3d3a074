"""A graph that exists fits together; anything else is refused by name."""

from dataclasses import replace

import pytest

from compiler.audit.graph import verify
from compiler.frontends.gla_swa import build
from compiler.graph import Gla, Linear, Part, Site, Window, outputs
from hw_models.errors import BadInput, Bug
from tests.tiny import TINY

GRAPH = build(TINY, "tiny")


def with_stage(index, **changes):
    stages = list(GRAPH.stages)
    stages[index] = replace(stages[index], **changes)
    return replace(GRAPH, stages=tuple(stages))


def test_stages_sites_and_linears_alternate():
    verify(GRAPH)
    # every stage but the first reads a linear, every stage but the last feeds a site
    assert [s.linear for s in GRAPH.stages[1:]] == [lin.name for lin in GRAPH.linears]
    assert [s.site for s in GRAPH.stages[:-1]] == [lin.site for lin in GRAPH.linears]
    assert GRAPH.stages[0].linear is None
    assert [s.name for s in GRAPH.sites] == [lin.site for lin in GRAPH.linears]


def test_layers_take_turns_and_heads_have_the_width_of_the_model():
    attention = [s for s in GRAPH.stages if isinstance(s, Gla | Window)]
    assert [type(s) for s in attention] == [Gla, Window]
    assert {outputs(s) for s in attention} == {TINY.hidden_size}


def test_macs_are_those_of_the_dense_model():
    """q, k, v, o of both kinds of attention, the gate of the first, three matrices of the MLP."""
    d, kv, f = 32, 16, 40
    per_layer = d * (d + 2 * kv) + d * d + 3 * d * f
    assert GRAPH.macs() == 2 * per_layer + d * kv + 20 * d


@pytest.mark.parametrize("n", [0, -1, 65_537])
def test_a_site_has_1_to_65536_channels(n):
    with pytest.raises(BadInput, match=f"a site of {n} channels") as caught:
        Site("here", n, "mean-abs")
    assert caught.value.where == "here"
    assert Site("here", 65_536, "mean-abs").n == 65_536


def test_a_linear_is_not_empty_and_names_a_row_for_each_neuron():
    part = Part("w", None, (0, 3, 5, 6))
    assert Linear("l", "s", 7, 4, (part,)).n_post == 4
    with pytest.raises(Bug, match="4 rows named for 5 neurons"):
        Linear("l", "s", 7, 5, (part,))
    with pytest.raises(BadInput, match="empty weight matrix 4x0"):
        Linear("l", "s", 0, 4, (part,))


def test_two_of_one_name():
    with pytest.raises(Bug, match="share a name"):
        verify(replace(GRAPH, sites=(*GRAPH.sites, GRAPH.sites[0])))
    with pytest.raises(Bug, match="share a name"):
        verify(replace(GRAPH, linears=(*GRAPH.linears, GRAPH.linears[0])))


def test_a_linear_before_its_site():
    stages = list(GRAPH.stages)
    stages[1], stages[2] = stages[2], stages[1]
    with pytest.raises(Bug, match="read before it is driven"):
        verify(replace(GRAPH, stages=tuple(stages)))
    with pytest.raises(Bug, match="nowhere is read before"):
        verify(with_stage(3, linear="nowhere"))


def test_widths_that_differ():
    with pytest.raises(Bug, match=r"33 outputs into layers\.0\.attn_in") as caught:
        verify(with_stage(0, n=33))
    assert caught.value.where == GRAPH.stages[0].name
    first = replace(GRAPH.linears[0], n_pre=31)
    with pytest.raises(Bug, match="31 inputs from a site of 32"):
        verify(replace(GRAPH, linears=(first, *GRAPH.linears[1:])))


def test_something_left_unused():
    with pytest.raises(Bug, match="left unused"):
        verify(replace(GRAPH, sites=(*GRAPH.sites, Site("spare", 4, "mean-abs"))))
    with pytest.raises(Bug, match="left unused"):
        verify(replace(GRAPH, stages=GRAPH.stages[:-1]))
    twin = replace(GRAPH.linears[0], name="twin")
    with pytest.raises(Bug, match="left unused"):
        verify(replace(GRAPH, linears=(*GRAPH.linears, twin)))


def test_one_site_that_drives_two_linears():
    """q and k, v, gate must be fused: the second linear is read, but its site is the first's."""
    last = GRAPH.linears[-1]
    moved = replace(last, site=GRAPH.linears[-2].site, n_pre=GRAPH.linears[-2].n_pre)
    stages = (*GRAPH.stages[:-1], GRAPH.stages[-1])
    with pytest.raises(Bug, match="one site drives two linears"):
        verify(replace(GRAPH, linears=(*GRAPH.linears[:-1], moved), stages=stages))


def test_look_up_by_name():
    for lin in GRAPH.linears:
        assert GRAPH.linear(lin.name) is lin
        assert GRAPH.linear_from(lin.site) is lin
        assert GRAPH.site(lin.site).n == lin.n_pre

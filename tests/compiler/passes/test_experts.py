"""What a router lets run is driven when it is chosen, and is awaited by whoever adds it up."""

from collections import Counter
from dataclasses import replace

import pytest

from compiler.conditions import added_up, condition_of, conditions, first_of, shares
from compiler.graph import Parallel, Router
from compiler.passes.dataflow import verify
from hw_models.chip import load_chip
from hw_models.errors import Bug
from tests.compiler.passes.steps import passes
from tests.experts import NARROW_CORES, SMALL_CORES, model


@pytest.fixture(scope="module", params=["two of five", "wide"])
def experts(request):
    cores = NARROW_CORES if request.param == "wide" else SMALL_CORES
    return passes(model(request.param)[0], load_chip("toy", cores))


def swapped(flow, which, **changes):
    nets = list(flow.nets)
    nets[which] = replace(nets[which], **changes)
    return replace(flow, nets=tuple(nets))


def test_conditions_are_every_routers_experts_in_order():
    graph = model("two of five")[0]
    every = [(f"layers.{layer}.route", e) for layer in (1, 2) for e in range(5)]
    assert list(conditions(graph)) == every
    assert dict(first_of(graph)) == {"layers.1.route": 0, "layers.2.route": 5}
    assert added_up(graph)[7] == "layers.2.experts.2.down"
    assert shares(graph) == {None: 1.0} | dict.fromkeys(every, 2 / 5)
    runs = condition_of(graph)
    assert runs["layers.2.experts.3.swiglu"] == runs["layers.2.experts.3.down"] == every[8]
    assert runs["layers.2.route"] is runs["layers.2.shared.down"] is None


def test_tiles_of_an_expert_are_driven_under_its_condition_only(experts):
    flow, linears = experts.flow, {lin.name: lin for lin in experts.graph.linears}
    for net in flow.nets:
        if net.message != "spike":
            continue
        for sink in net.sinks:
            wanted = linears[flow.tasks[sink].op].condition
            assert (net.condition or flow.tasks[net.source].condition) == wanted
    for task in flow.tasks:
        if task.op in linears:
            assert task.condition == linears[task.op].condition


def test_a_home_awaits_the_shared_experts_sums_top_k_others_and_the_choice(experts):
    flow = experts.flow
    (router,) = {s.top_k for s in experts.graph.stages if isinstance(s, Router)}
    homes = [t for t in flow.tasks if t.rows > 1]
    assert homes
    for task in homes:
        due = Counter(
            (net.message, net.condition or flow.tasks[net.source].condition)
            for net in flow.nets
            for sink in net.sinks
            if flow.tasks[sink] is task
            for _ in range(net.n)
        )
        values = due["value", None]
        sums = due["partial", None] + router * due["partial", ("layers.1.route", 0)]
        if task.op == "layers.2.attn_norm" or task.op == "final_norm":
            assert task.rows == 1 + router
        assert values == 2 * router + task.neurons[1]  # and the stream
        if ("partial", ("layers.1.route", 0)) in due:
            assert task.need == values + sums


def test_a_missing_net_of_spikes_sums_or_choices(experts):
    routers = {s.name for s in experts.graph.stages if isinstance(s, Router)}
    verify(experts.flow, experts.graph)
    tried = Counter()
    for i, net in enumerate(experts.flow.nets):
        told = experts.flow.tasks[net.source].op in routers
        if net.message == "value" and not told:
            continue
        tried[net.message] += 1
        nets = experts.flow.nets[:i] + experts.flow.nets[i + 1 :]
        with pytest.raises(Bug, match=r"axons driven|sums|know the choice"):
            verify(replace(experts.flow, nets=nets), experts.graph)
    assert min(tried[m] for m in ("spike", "partial", "value")) > 0


def test_a_choice_that_is_told_in_part_or_not_to_all(experts):
    routers = {s.name for s in experts.graph.stages if isinstance(s, Router)}
    for i, net in enumerate(experts.flow.nets):
        if experts.flow.tasks[net.source].op in routers:
            for changes in ({"n": net.n - 2}, {"sinks": net.sinks[1:]}, {"sinks": net.sinks[:-1]}):
                with pytest.raises(Bug, match="know the choice"):
                    verify(swapped(experts.flow, i, **changes), experts.graph)


def test_a_net_under_another_condition(experts):
    every = (None, *conditions(experts.graph))
    for i, net in enumerate(experts.flow.nets):
        if net.message == "spike" and net.condition is not None:
            for other in every:
                if other != net.condition:
                    with pytest.raises(Bug):
                        verify(swapped(experts.flow, i, condition=other), experts.graph)
        elif net.condition is None and i % 5 == 0:
            with pytest.raises(Bug):
                verify(swapped(experts.flow, i, condition=every[1]), experts.graph)


def test_a_task_under_another_condition_or_with_another_number_of_sums(experts):
    flow = experts.flow
    for i, task in enumerate(flow.tasks):
        if task.on_host:
            continue
        for wrong in (
            replace(task, condition=None if task.condition else conditions(experts.graph)[0]),
            replace(task, rows=task.rows + 1),
        ):
            tasks = (*flow.tasks[:i], wrong, *flow.tasks[i + 1 :])
            with pytest.raises(Bug):
                verify(replace(flow, tasks=tasks), experts.graph)


def test_parallel_attention_holds_its_states_its_ring_and_its_sinks(experts):
    """Float32 states per head; int8 keys and values with a scale each, sinks beside the ring."""
    for stage in experts.graph.stages:
        if not isinstance(stage, Parallel):
            continue
        units = [u for u in experts.flow.units if u.op == stage.name]
        token = stage.kv_heads * 2 * (stage.head_dim + 4)
        states = 4 * stage.heads * stage.head_dim**2
        kept = sum(u.stream_bytes for u in units)
        assert states + stage.window * token <= kept < states + (stage.window + 8) * token
        own = stage.heads * stage.head_dim
        assert sum(u.state_bytes for u in units) >= kept + stage.sinks * token + 8 * own
        assert {t.ring.window for t in experts.flow.tasks if t.op == stage.name and t.ring} == {
            stage.window
        }


def test_what_experts_send_weighs_their_share_of_the_tokens(experts):
    flow, weigh = experts.flow, experts.weigh
    share = shares(experts.graph)
    seen = Counter()
    for net in flow.nets:
        source = flow.tasks[net.source]
        condition = net.condition or source.condition
        if net.residue >= 0:
            continue
        always = replace(weigh, share=dict.fromkeys(share, 1.0))
        wanted = share[condition] * always.link_bits(net, source, "x")
        assert weigh.link_bits(net, source, "x") == pytest.approx(wanted)
        seen[condition is None] += 1
    assert len(seen) == 2

"""Simulated = canonical, with ==, whatever the coding, the tiling, the target or the schedule."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.pipeline import compile_graph
from hw_models.chip import load_chip
from tests.small import TEXT, assert_equal, decoded, model, prefilled, reference


@pytest.mark.parametrize("target", ["toy", "loihi-like", "seneca-like"])
@pytest.mark.parametrize("coding", ["ternary", "bitwise", "graded"])
def test_events_add_up_to_the_integer_product(target, coding):
    graph, tensors, _ = model(0)
    program = compile_graph(graph, tensors, load_chip(target), coding=coding)
    assert_equal(prefilled(program), reference(0))


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_prefill_with_any_number_of_token_slots_equals_decode(slots):
    graph, tensors, _ = model(1)
    chip = load_chip("toy", {"core.token_slots": str(slots), "core.state_memory": "16 KiB"})
    program = compile_graph(graph, tensors, chip)
    streamed, stepped = prefilled(program), decoded(program)
    assert_equal(streamed, reference(1))
    assert_equal(stepped, reference(1))
    assert streamed.now_ps < stepped.now_ps


def test_fewer_slots_than_compiled_for_give_the_same_values():
    graph, tensors, _ = model(1)
    program = compile_graph(graph, tensors, load_chip("toy"))
    one, two = prefilled(program, slots=1), prefilled(program, slots=2)
    assert_equal(one, reference(1))
    assert_equal(two, reference(1))
    assert one.now_ps != two.now_ps


# a failing example is small enough to read; shrinking it would take minutes
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)

sizes = st.fixed_dictionaries(
    {
        "core.synapse_memory": st.integers(2_000, 40_000).map(lambda n: f"{n} B"),
        "core.state_memory": st.integers(9_000, 40_000).map(lambda n: f"{n} B"),
        "core.in_axons": st.integers(128, 400).map(str),
        "core.neurons": st.integers(180, 600).map(str),
        "core.lanes": st.integers(1, 9).map(str),
    }
)


@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
@given(
    sizes=sizes,
    seed=st.integers(0, 2),
    coding=st.sampled_from(["ternary", "bitwise", "graded"]),
    dead=st.sets(st.integers(0, 60), max_size=30),
)
def test_core_sizes_and_dead_cores_change_no_value(sizes, seed, coding, dead):
    graph, tensors, _ = model(seed)
    chip = load_chip("toy", sizes | {"layout.dead_cores": str(sorted(dead))})
    program = compile_graph(graph, tensors, chip, coding=coding)
    assert not dead & set(program.tables.task_core.tolist())
    assert_equal(prefilled(program, TEXT[:4]), reference(seed)[:4])


@settings(max_examples=4, deadline=None, phases=NO_SHRINKING)
@given(shuffle=st.randoms(use_true_random=False))
def test_any_placement_gives_the_same_values(shuffle):
    from compiler import pipeline
    from compiler.passes import place as placing

    graph, tensors, _ = model(0)
    chip = load_chip("toy")

    def scattered(parts, nets, chip, budget):
        cores = list(range(1024))
        shuffle.shuffle(cores)
        return placing.Placement(parts.board.mesh, tuple(cores[: len(parts.group_of)]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.placing, "place", scattered)
        patch.setattr(pipeline.placing, "verify", lambda *_: None)
        program = compile_graph(graph, tensors, chip)
    assert_equal(prefilled(program, TEXT[:3]), reference(0)[:3])


def test_the_row_buffer_saves_fetches_and_nothing_else():
    from compiler.accounting import counters, tree_facts
    from simulator.counters import snapshot

    graph, tensors, _ = model(0)
    found = {}
    for has in ("true", "false"):
        program = compile_graph(
            graph, tensors, load_chip("toy", {"abilities.row_buffer": has}), coding="ternary"
        )
        simulation = prefilled(program, TEXT[:4])
        assert_equal(simulation, reference(0)[:4])
        seen = snapshot(simulation.state)
        found[has] = counters(program, tree_facts(program), seen)
    fetches = {has: 0 for has in found}
    for has, counts in found.items():
        for kinds in counts.values():
            fetches[has] += kinds.pop("weight_fetch", 0)
    assert fetches["true"] < fetches["false"]
    assert found["true"] == found["false"]


def test_one_bad_value_is_an_error_that_names_site_and_token():
    from hw_models.errors import BadInput

    graph, tensors, _ = model(0)
    tensors = dict(tensors)
    name = "model.layers.0.attn_norm.weight"
    tensors[name] = tensors[name] * 0 + 2.0**19
    program = compile_graph(graph, tensors, load_chip("loihi-like"))
    with pytest.raises(BadInput, match="attn_in, token 0"):
        prefilled(program, TEXT[:2])


def test_an_accumulator_that_overflows_is_named_and_never_wrapped():
    from hw_models.errors import DoesNotFit

    graph, tensors, _ = model(0)
    program = compile_graph(graph, tensors, load_chip("toy"), coding="graded")
    simulation = prefilled(program, TEXT[:1])
    # a stage that asks for counts no honest encoder sends: 2^30 on every channel of one site
    from simulator import drive

    def huge(site, x, k, token, counts):
        counts[:] = 2**30
        return np.float32(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "encode", huge)
        with pytest.raises(DoesNotFit, match=r"accumulator of neuron \d+ would be -?\d+"):
            prefilled(program, TEXT[:1])
    assert np.isfinite(simulation.found.logits[0]).all()


def test_an_accumulator_that_overflows_only_in_between_is_named_too():
    """Counts that add up to sums that fit, after one that does not: seen when its spike comes."""
    from hw_models.errors import DoesNotFit
    from simulator import drive

    graph, tensors, _ = model(0)
    program = compile_graph(graph, tensors, load_chip("loihi-like"), coding="graded")
    linear = graph.linears[0]
    q = np.asarray(program.linears[linear.name].q)[:, :128].astype(np.int64)
    counts = np.zeros(graph.sites[0].n, np.int32)
    sizes = np.sign(q[0]) * (np.arange(q.shape[1]) < q.shape[1] // 2) * 2
    counts[: q.shape[1]] = (sizes - np.sign(q[0])) * 2**21
    running = np.cumsum(q * counts[: q.shape[1]], axis=1)
    assert np.abs(running[0]).max() > 2**31, "the first neuron leaves int32"
    assert np.abs(running[0, -1]) < 2**31, "and comes back"
    honest = drive.encode

    def given(site, x, k, token, into):
        if site.name != linear.site:
            return honest(site, x, k, token, into)
        into[:] = counts
        return np.float32(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drive, "encode", given)
        with pytest.raises(DoesNotFit, match=r"accumulator of neuron \d+ would be -?\d+") as caught:
            prefilled(program, TEXT[:1])
    said = [
        int(word.strip(",")) for word in str(caught.value).split() if word.strip(",-").isdigit()
    ]
    neuron, value = said[0], said[1]
    assert abs(value) > 2**31 - 1
    assert value in running[neuron].tolist()

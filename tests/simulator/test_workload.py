"""Counts in place of values: a replay is the run it came from; a profile needs no weights."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.activity import Activity
from compiler.graph import Router
from compiler.pipeline import compile_model, map_graph
from hw_models.chip import load_chip
from hw_models.errors import BadInput, Usage
from simulator.api import simulate
from simulator.build_report import build_report
from simulator.run_folder import read_activity, read_run
from simulator.workload import profile, replay
from tests import experts
from tests.spiking import affine, fired, lif, random_spikes, written
from tests.tiny import tiny

TEXT = (3, 17, 17, 8)


def energy(run):
    return build_report(run, ()).main.joules_per_token


def alike(one, other):
    """All but the text, and where the counts came from."""
    text = {"prompt": (), "generated": (), "text": "", "analog": None, "outputs": ()}
    text |= {"workload": "", "counts_from": "", "outputs_are": ""}
    assert replace(one, **text) == replace(other, **text)
    assert energy(one) == energy(other)


def again(program, run, folder, **options):
    """A run, and the replay of its folder."""
    counts = replay(program, read_activity(folder / "run"))
    return simulate(program, workload=counts, out=folder / "again", **options)


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("coding", ["bitwise", "ternary", "graded"])
def test_a_replay_counts_and_times_what_the_run_did(coding, sync, tmp_path):
    run = simulate(tiny(coding), prompt=TEXT, tokens=4, sync=sync, out=tmp_path / "run")
    same = again(tiny(coding), run, tmp_path, sync=sync)
    alike(run, same)
    assert (same.workload, same.text, same.generated) == ("replay", "", ())
    for name in ("counters.json", "activity.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("target", "encoding"),
    [("isaac-like", "pairs"), ("isaac-like", "offset"), ("hermes-like", "pairs")],
)
def test_so_it_does_on_crossbars_however_rough(target, encoding, tmp_path):
    rough = {"array__adc_bits": "5 bit", "array__noise": "3 %", "array__seed": "9"}
    program = tiny(target=target, array__encoding=encoding, **rough)
    run = simulate(program, prompt=TEXT, tokens=2, out=tmp_path / "run")
    assert run.analog is not None
    alike(run, again(program, run, tmp_path))


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
def test_so_it_does_of_spiking_neurons(sync, tmp_path):
    path = written(
        tmp_path / "net.nir", affine(12, 9, 1), lif(9, 2), affine(9, 4, 3, gain=3), fired(4)
    )
    program = compile_model(path, "toy")
    run = simulate(program, spikes=random_spikes(12, 70), sync=sync, out=tmp_path / "run")
    alike(run, again(program, run, tmp_path, sync=sync))


def test_a_run_can_be_replayed_on_another_target(tmp_path):
    run = simulate(tiny(), prompt=TEXT, tokens=2, out=tmp_path / "run")
    there = tiny(target="loihi-like")
    alike(
        simulate(there, prompt=TEXT, tokens=2, out=tmp_path / "there"),
        again(there, run, tmp_path),
    )


def bare(coding="bitwise"):
    """A program without weights."""
    return map_graph(tiny().graph, load_chip("toy"), coding=coding)


@pytest.mark.parametrize("coding", ["bitwise", "ternary", "graded"])
def test_a_profile_needs_no_weights_and_depends_on_its_seed_alone(coding, tmp_path):
    def run(name, seed, **options):
        counts = profile(bare(coding), seed=seed, prompt=3, tokens=4)
        return simulate(bare(coding), workload=counts, out=tmp_path / name, **options)

    first, other = run("a", 5), run("c", 6)
    assert run("b", 5, slots=1).sites == first.sites  # drawn in another order
    assert [(p.name, p.tokens) for p in first.phases] == [("prefill", 3), ("decode", 3)]
    assert other.phases != first.phases
    assert len(first.logits_ps) == 4 and first.workload == "profile"
    assert read_run(tmp_path / "a").run == first
    assert energy(first).nominal > 0


def test_what_is_drawn_is_what_the_mapping_expected():
    """Published means of SpikingBrain-7B, within five sigmas."""
    counts = profile(bare()).counts
    n = np.abs(np.concatenate([counts("layers.0.down_in", t)[0] for t in range(1000)]))
    bits = np.array([bin(x).count("1") for x in n.tolist()])
    for values, wanted in ((n, 3.0), (bits, 1.13), (n == 0, 0.184), (n <= 7, 0.941)):
        assert abs(values.mean() - wanted) < 5 * values.std() / np.sqrt(n.size)
    dense = np.abs(counts("head_in", 0)[0])
    assert dense.min() > 0 and dense.max() <= 32767


def recorded(tokens=4, head=2):
    found = Activity()
    for site in tiny().graph.sites:
        for token in range(tokens - head if site.name == "head_in" else 0, tokens):
            found.add(site.name, token, np.ones(site.n, np.int32), np.float32(1))
    found.active["layers.0.gla"] = [np.full((4, 8), 3, np.uint8)] * tokens
    return found


def test_the_head_may_have_run_for_the_last_tokens_only():
    found = replay(tiny(), recorded(tokens=4, head=2))
    assert (found.prompt, found.tokens) == (3, 2)
    with pytest.raises(BadInput, match=r"3 tokens of site layers\.0"):
        odd = recorded()
        for rows in (odd.counts, odd.tokens):
            rows["layers.0.attn_in"].pop()
        replay(tiny(), odd)
    for tokens in ([0, 1], [3, 2], [2, 4]):
        odd = recorded()
        odd.tokens["head_in"][:] = tokens
        with pytest.raises(BadInput, match="of site head_in"):
            replay(tiny(), odd)


def test_other_sites_widths_and_counts_are_refused_by_name():
    lacking, foreign, narrow, wide = (recorded() for _ in range(4))
    del lacking.counts["layers.1.o_in"]
    foreign.add("layers.9.o_in", 0, np.ones(4, np.int32), np.float32(1))
    narrow.counts["layers.1.o_in"][2] = np.ones(7, np.int32)
    wide.counts["head_in"][1][5] = 40_000
    for activity, what, where in (
        (lacking, "no counts of site layers.1.o_in", "here"),
        (foreign, "there is no site layers.9.o_in", "here"),
        (narrow, "7 channels; the program has 32", "here: site layers.1.o_in, token 2"),
        (wide, "a count of 40000; graded spikes carry -32768 to 32767", "here: site head_in"),
    ):
        with pytest.raises(BadInput, match=what) as caught:
            replay(tiny(), activity, "here")
        assert caught.value.where.startswith(where)


@pytest.mark.parametrize(
    "more", [{"prompt": b"a"}, {"tokens": 2}, {"check": True}, {"spikes": np.ones((1, 1))}]
)
def test_counts_take_no_input_and_have_no_values_to_check(more, tmp_path):
    with pytest.raises(Usage, match="the workload profile has counts"):
        simulate(tiny(), workload=profile(tiny()), out=tmp_path / "run", **more)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"prompt": 0}, {"tokens": 0}, {"seed": -1}])
def test_a_profile_of_nothing_is_refused(wrong):
    with pytest.raises(BadInput):
        profile(tiny(), **wrong)


def test_a_program_that_does_not_say_what_it_expects_has_no_profile():
    silent = replace(tiny(), statistics={"origin": "nowhere"})
    with pytest.raises(BadInput, match="does not say what its mapping expects"):
        profile(silent)
    odd = replace(
        tiny(), statistics=tiny().statistics | {"at_most": {"7": 0.5}}
    )  # half above 7, and a mean of 3
    with pytest.raises(BadInput, match="no distribution of counts has these figures"):
        profile(odd)


def test_experts_are_chosen_at_random(tmp_path):
    program = experts.program("two of five")
    counts = profile(program, prompt=40, tokens=1)
    router = next(s for s in program.graph.stages if isinstance(s, Router))
    chosen = [counts.chosen(router, token) for token in range(40)]
    assert all(len(set(pair)) == 2 for pair in chosen) and len(set(chosen)) > 5
    run = simulate(program, workload=counts, out=tmp_path / "run")
    first = router.name.rsplit(".", 1)[0]
    ran = run.phases[0].ran
    for expert in range(5):
        times = sum(expert in pair for pair in chosen)
        linears = [n for name, n in ran.items() if f"{first}.experts.{expert}." in name]
        assert linears and set(linears) == {times}
    alike(run, again(program, run, tmp_path))


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("name", ["one of four", "two of five", "wide"])
def test_a_replay_of_experts_counts_and_times_what_the_run_did(name, sync, tmp_path):
    program = experts.program(name)
    run = simulate(program, prompt=experts.TEXT[:5], tokens=4, sync=sync, out=tmp_path / "run")
    alike(run, again(program, run, tmp_path, sync=sync))
    for file in ("counters.json", "activity.parquet"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_an_activity_tells_which_tokens_an_expert_ran_for(tmp_path):
    program = experts.program("two of five")
    simulate(program, prompt=experts.TEXT, tokens=1, out=tmp_path / "run")
    found = read_activity(tmp_path / "run")
    for router in ("layers.1", "layers.2"):
        chosen = [token.chosen[f"{router}.route"] for token in experts.reference("two of five")]
        assert found.chosen[f"{router}.route"] == chosen
        for expert in range(5):
            own = [token for token, pair in enumerate(chosen) if expert in pair]
            assert found.tokens.get(f"{router}.experts.{expert}.down_in", []) == own


def mixed():
    """Six tokens of a mixture of experts, all of which choose the first two."""
    graph, found = experts.program("two of five").graph, Activity()
    for site in graph.sites:
        if ".experts." not in site.name or ".experts.0." in site.name or ".experts.1." in site.name:
            for token in range(6):
                found.add(site.name, token, np.ones(site.n, np.int32), np.float32(1))
    found.chosen = {f"layers.{i}.route": [(0, 1)] * 6 for i in (1, 2)}
    return found


def test_choices_that_a_router_cannot_have_made_are_refused_by_name(tmp_path):
    program = experts.program("two of five")
    replay(program, mixed())
    route = "layers.1.route"
    at = f"here: router {route}, token 2"
    for change, what, where in (
        (lambda a: a.chosen.clear(), f"no choices of router {route}", "here"),
        (lambda a: a.chosen.update(other=[(0, 1)] * 6), "there is no router other", "here"),
        (lambda a: a.chosen[route].pop(), f"5 tokens of router {route}, 6 of others", "here"),
        (lambda a: a.chosen[route].__setitem__(2, (0,)), "1 experts chosen; .* takes 2", at),
        (lambda a: a.chosen[route].__setitem__(2, (1, 5)), "expert 5 chosen; .* 0 to 4", at),
        (lambda a: a.chosen[route].__setitem__(2, (1, 1)), "once each, ascending", at),
        (lambda a: a.chosen[route].__setitem__(2, (0, 2)), "expert 1 of layers.1.route", "here"),
        (lambda a: a.tokens["layers.1.experts.0.down_in"].__setitem__(5, 6), "or for others",
         "here"),
        (lambda a: a.counts.pop("layers.1.experts.0.down_in"), "0 tokens of site .*experts.0",
         "here"),
        (lambda a: a.active.update(other=[]), "there is no gla other", "here"),
    ):  # fmt: skip
        activity = mixed()
        change(activity)
        if "layers.1.experts.0.down_in" not in activity.counts:
            del activity.tokens["layers.1.experts.0.down_in"]
        with pytest.raises(BadInput, match=what) as caught:
            replay(program, activity, "here")
        assert caught.value.where == where and caught.value.fix


def test_marks_of_other_channels_are_refused_by_name():
    at = "here: gla layers.0.gla, token 1"
    for marks, what, where in (
        (None, r"no active channels of gla layers\.0\.gla", "here"),
        (np.zeros(31, np.uint8), "31 key channels; the program has 32", at),
        (np.full((4, 8), 4, np.uint8), "a mark of 4; there are 0 to 3", at),
    ):
        activity = recorded()
        if marks is None:
            activity.active.clear()
        else:
            activity.active["layers.0.gla"][1] = marks
        with pytest.raises(BadInput, match=what) as caught:
            replay(tiny(), activity, "here")
        assert caught.value.where == where

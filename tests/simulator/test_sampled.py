"""Tokens of a long text simulated alone are those of the whole run, and say what it costs."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from compiler.frontends.gla_swa import build
from compiler.frontends.read import read_config
from compiler.frontends.spikingbrain_moe import spikingbrain_moe
from compiler.pipeline import compile_graph, compile_model, map_graph
from compiler.program import Program
from hw_models.chip import load_chip
from hw_models.errors import BadInput, DoesNotFit, Usage
from simulator.api import simulate
from simulator.build_report import build_report
from simulator.estimates import estimates
from simulator.run_folder import read_activity, read_run
from simulator.sampled import FARTHEST, Sampling, by_kind
from simulator.strata import drawn, estimate
from simulator.workload import profile, replay
from tests import experts
from tests.spiking import affine, fired, written
from tests.tiny import TINY, tiny

PROMPT = (3, 17, 17)
CONTEXT = 100
"""Longer than the window of 60, so that rings fill up on the way."""


def full_attention(context=128):
    """A decoder whose every token attends to all before it; no weights."""
    found = {"model_type": "llama", "vocab_size": 23, "hidden_size": 24, "num_hidden_layers": 2}
    found |= {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 36}
    return found | {"max_position_embeddings": context, "rms_norm_eps": 1e-5}


@pytest.fixture
def decoder(tmp_path):
    """A program of it, compiled for a context."""

    def compiled(context):
        config = tmp_path / "config.json"
        config.write_text(json.dumps(full_attention()))
        # cores so small that a ring has several stripes
        chip = load_chip("toy", {"core.state_memory": "2 KiB", "core.synapse_memory": "1 KiB"})
        return map_graph(read_config(config, context), chip)

    return compiled


def whole_and_windows(program, tmp_path, *, context=CONTEXT, windows=12, **options):
    """A profile's run of a text, and one of some of its tokens."""
    given = {"workload": profile(program, seed=4, prompt=3), "context": context, **options}
    sampling = Sampling(windows, seed=4)
    return (
        simulate(program, out=tmp_path / "whole", **given),
        simulate(program, sample=sampling, out=tmp_path / "windows", **given),
    )


def times_of(run):
    """{position: ps} of every decoded token."""
    ends, prompt = run.logits_ps, len(run.prompt) or 3
    return {prompt + i: b - a for i, (a, b) in enumerate(pairwise(ends))}


def own_counts(program, position, tmp_path, **options):
    """What a whole run counts of one token, as the difference of two runs."""
    total = []
    for context in (position, position + 1):
        counts = profile(program, seed=4, prompt=3)
        out = tmp_path / f"until-{context}"
        run = simulate(program, workload=counts, context=context, out=out, **options)
        total.append(next((by_kind(p.counters) for p in run.phases if p.name == "decode"), {}))
    return {k: n - total[0].get(k, 0) for k, n in total[1].items() if n != total[0].get(k, 0)}


def program_of(name, decoder):
    if name == "full attention":
        return decoder(CONTEXT)
    if name in experts.CONFIGS:
        graph = spikingbrain_moe(experts.CONFIGS[name], "mixture", 60).graph
        return map_graph(graph, load_chip("toy", experts.SMALL_CORES))
    return tiny()


@pytest.mark.parametrize("sync", ["dataflow", "barrier"])
@pytest.mark.parametrize("name", ["windows and states", "full attention", "two of five"])
def test_a_token_alone_takes_the_time_and_counts_of_the_whole_run(name, sync, decoder, tmp_path):
    program = program_of(name, decoder)
    context = 60 if name in experts.CONFIGS else CONTEXT
    whole, some = whole_and_windows(program, tmp_path, context=context, sync=sync)
    times = times_of(whole)
    assert len(times) == context - 3
    for window in some.sampled.windows:
        assert window.ps == times[window.position], window.position
    for window in (some.sampled.windows[0], some.sampled.windows[-2]):
        assert window.counts == own_counts(program, window.position, tmp_path, sync=sync)
    assert some.phases[0] == whole.phases[0]  # the prompt is simulated one way only


def test_full_attention_grows_with_the_position_and_a_window_until_it_is_full(decoder, tmp_path):
    def reads(program):
        _, run = whole_and_windows(program, tmp_path / program.graph.model, windows=20)
        return {w.position: w.counts["state_read"] for w in run.sampled.windows}

    grows = reads(decoder(CONTEXT))
    each = {b - a: grows[b] - grows[a] for a in grows for b in grows if a < b}
    assert len({n / apart for apart, n in each.items()}) == 1 and min(each.values()) > 0
    until = reads(tiny())
    assert len({n for at, n in until.items() if at >= 59}) == 1
    assert max(n for at, n in until.items() if at < 59) < until[max(until)]


def weighted(name):
    """A program with weights: exact sums, experts, or arrays whose sums are off."""
    if name == "experts":
        graph = spikingbrain_moe(experts.TWO_OF_FIVE, "mixture", 60).graph
        tensors, chip = experts.random_tensors(experts.TWO_OF_FIVE), load_chip("toy")
        return compile_graph(graph, tensors, chip)
    return tiny(target="hermes-like") if name == "rough arrays" else tiny()


@pytest.mark.parametrize("name", ["cores", "experts", "rough arrays"])
def test_computed_windows_are_those_of_the_functional_run(name, tmp_path):
    program, options = weighted(name), {"prompt": PROMPT, "context": 40}
    whole = simulate(program, **options, out=tmp_path / "whole")
    some = simulate(program, **options, sample=Sampling(8), out=tmp_path / "some")
    for said in ("prompt", "generated", "text", "workload"):
        assert getattr(some, said) == getattr(whole, said)
    times = times_of(whole)
    assert all(w.ps == times[w.position] for w in some.sampled.windows)


def test_a_replay_has_the_windows_of_the_functional_run(tmp_path):
    options = {"prompt": PROMPT, "context": CONTEXT}
    simulate(tiny(), **options, out=tmp_path / "whole")
    some = simulate(tiny(), **options, sample=Sampling(12), out=tmp_path / "some")
    again = replay(tiny(), read_activity(tmp_path / "whole"))
    same = simulate(tiny(), workload=again, sample=Sampling(12), out=tmp_path / "again")
    assert same.sampled == some.sampled and same.phases == some.phases


def test_counts_and_times_of_the_folder_are_those_of_the_windows(tmp_path):
    _, run = whole_and_windows(tiny(), tmp_path)
    stored = read_run(tmp_path / "windows")
    assert stored.run == run and stored.activity is None
    prefill, decode = run.phases
    windows = run.sampled.windows
    assert (prefill.tokens, decode.tokens) == (3, 12) == (run.sampled.prompt, len(windows))
    assert decode.end_ps - decode.start_ps == sum(w.ps for w in windows)
    kinds = {kind for w in windows for kind in w.counts}
    total = {kind: sum(w.counts.get(kind, 0) for w in windows) for kind in kinds}
    assert by_kind(decode.counters) == total
    report = build_report(run, ())
    found = report.sampled.estimates
    assert found == run.sampled.estimates
    assert found["joules"].simulated == pytest.approx(report.main.ledger.total().nominal, rel=1e-12)
    assert found["seconds"].simulated == pytest.approx(report.main.seconds, rel=1e-12)
    assert found["synops"].simulated == report.main.events.synops
    prompt = {"joules": report.phases[0].ledger.total().nominal, "seconds": prefill.end_ps * 1e-12}
    for name, known in prompt.items():
        assert found[f"context_{name}"].total == found[name].total + known
        assert found[f"context_{name}"].margin == found[name].margin


def of_all(run):
    """Seconds, joules and synops of a whole run's decoded tokens, priced as ever."""
    main = build_report(run, ()).main
    return {
        "seconds": main.seconds,
        "joules": main.ledger.total().nominal,
        "synops": main.events.synops,
        "spike_messages": main.events.spike_messages,
        "hops": main.events.hops,
    }


def hits(whole, some):
    """Which estimates hold the whole run's figure."""
    found = some.sampled.estimates
    return {k: abs(found[k].total - y) <= found[k].margin for k, y in of_all(whole).items()}


@pytest.mark.parametrize("name", ["windows and states", "full attention"])
def test_the_interval_holds_what_the_whole_run_takes(name, decoder, tmp_path):
    whole, some = whole_and_windows(program_of(name, decoder), tmp_path, windows=32)
    assert all(hits(whole, some).values())
    wide = some.sampled.estimates["seconds"]
    assert 0 < wide.margin < 0.05 * wide.total


@pytest.mark.slow
def test_of_8192_bytes_of_the_byte_lm_too(root, tmp_path):
    program = compile_model(root / "examples/byte_lm/model.pt", "loihi-like")
    whole = simulate(program, context=8192, out=tmp_path / "whole")
    some = simulate(program, context=8192, sample=Sampling(32), out=tmp_path / "some")
    assert some.generated == whole.generated
    times = times_of(whole)
    assert all(w.ps == times[w.position] for w in some.sampled.windows)
    assert all(hits(whole, some).values())


def test_of_many_samples_nearly_all_intervals_hold_it(decoder, tmp_path):
    """The windows of a sample are the whole run's tokens, so other samples can be made of those."""
    program = decoder(CONTEXT)
    whole, some = whole_and_windows(program, tmp_path, windows=16)
    times, held = times_of(whole), 0
    strata, total = some.sampled.strata, sum(times.values())
    for seed in range(200):
        at = drawn(strata, 16, seed)
        e = estimate(strata, at, [times[p] for p in at])
        held += abs(e.total - total) <= e.margin
    assert held >= 180


def test_a_seed_chooses_the_positions_and_the_same_one_the_same_bytes(tmp_path):
    def run(name, seed):
        counts, sampling = profile(tiny(), prompt=3), Sampling(8, seed)
        out = tmp_path / name
        run = simulate(tiny(), workload=counts, context=CONTEXT, sample=sampling, out=out)
        return [w.position for w in run.sampled.windows]

    assert run("a", 0) == run("b", 0) != run("c", 1)
    for file in ("run.json", "counters.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_million_tokens_of_bounded_memory_need_no_more_than_their_windows(tmp_path):
    program = map_graph(build(TINY, "tiny"), load_chip("toy"))
    given = {"workload": profile(program, prompt=1), "context": 2**20, "sample": Sampling(8)}
    run = simulate(program, out=tmp_path / "run", **given)
    assert run.sampled.strata[0] == (1, 59)  # until the window of 60 is full
    assert max(w.position for w in run.sampled.windows) > 2**19
    assert run.sampled.estimates["seconds"].total > 2**19 * run.logits_ps[0] * 1e-12 / 2


def test_more_streams_share_static_power_in_estimates_too(tmp_path):
    _, run = whole_and_windows(tiny(), tmp_path)
    run = replace(run, max_streams=2, phases=tuple(replace(p, max_streams=2) for p in run.phases))
    chip = tiny().chip
    one, two = (estimates(run, run.sampled, chip, n)["joules"] for n in (1, 2))
    assert two.total < one.total
    assert build_report(run, (), streams=2).sampled.estimates["joules"] == two


def test_a_context_beyond_full_attention_does_not_fit(decoder, tmp_path):
    decoder(50).write(tmp_path / "model.sbx")
    program = Program.read(tmp_path / "model.sbx")
    assert program.graph.context == 50 and tiny().graph.context is None
    for sample in (None, Sampling(4)):
        with pytest.raises(DoesNotFit, match="51 tokens; full attention was compiled for 50") as e:
            simulate(program, workload=profile(program), context=51, sample=sample)
        assert "sbcompile --context 51" in e.value.fix and e.value.exit_code == 5
    with pytest.raises(DoesNotFit):
        long = profile(program, prompt=2, tokens=50)
        simulate(program, workload=long, sample=Sampling(4))


def test_a_context_is_prompt_and_decoded_tokens(tmp_path):
    one = simulate(tiny(), prompt=PROMPT, tokens=4, out=tmp_path / "a")
    assert simulate(tiny(), prompt=PROMPT, context=6, out=tmp_path / "b") == one
    assert [p.tokens for p in one.phases] == [3, 3]


def spiking(tmp_path):
    return compile_model(written(tmp_path / "n.nir", affine(8, 4, 1), fired(4)), "toy")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"context": 2}, BadInput, "a context of 2 tokens for a prompt of 3"),
        ({"context": 20, "tokens": 4}, Usage, "two lengths"),
        ({"context": 90, "sample": Sampling(3)}, BadInput, "3 windows"),
        ({"context": 90, "sample": Sampling(8, -1)}, BadInput, "a seed of -1"),
        ({"context": 90, "sample": Sampling(50)}, BadInput, "50 windows in 87 decoded tokens"),
        ({"context": 90, "sample": Sampling(8), "trace": True}, Usage, "neither traced"),
        ({"context": 90, "sample": Sampling(8), "check": True}, Usage, "neither traced"),
        ({"tokens": 90, "sample": Sampling(8), "checkpoint_every": 0.0}, Usage, "neither traced"),
        ({"context": FARTHEST + 1, "sample": Sampling(8)}, BadInput, "computed from all before"),
    ],
)
def test_what_cannot_be_sampled_is_refused(options, error, text, tmp_path):
    with pytest.raises(error, match=text):
        simulate(tiny(), prompt=PROMPT, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_neither_steps_of_spikes_nor_a_replay_have_a_context(tmp_path):
    network = spiking(tmp_path)
    for options in ({"context": 9}, {"sample": Sampling(4)}):
        with pytest.raises(Usage, match="takes spikes, not text"):
            simulate(network, workload=profile(network, tokens=9), **options)
    simulate(tiny(), prompt=PROMPT, tokens=2, out=tmp_path / "run")
    counts = replay(tiny(), read_activity(tmp_path / "run"))
    with pytest.raises(Usage, match="an activity says"):
        simulate(tiny(), workload=counts, context=9)

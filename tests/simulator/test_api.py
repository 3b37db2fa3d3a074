"""`simulate`: prefill, greedy decoding, phases, and a run folder that says what happened."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer

from compiler.pipeline import compile_graph, map_graph
from compiler.program import Program, Prompt
from hw_models.chip import load_chip
from hw_models.errors import BadInput, GateFailed
from kernels.canonical import execute
from kernels.coding import density
from simulator import api, drive
from simulator.api import next_folder, simulate
from simulator.machine import fixed_arrays
from simulator.reference import numbers_of
from simulator.run_folder import read_run
from tests.small import model
from tests.tiny import TINY, TINY_CORE, tiny
from tests.tokenizers import VOCAB, tokenizer_json

PROMPT = bytes((3, 17, 8))


def greedy(program, prompt, n):
    """n tokens: the canonical executor from the start for each of them."""
    text = list(prompt)
    for _ in range(n):
        *_, last = execute(program.graph, numbers_of(program), text, program.k)
        text.append(int(np.argmax(last.logits)))
    return tuple(text[len(prompt) :])


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    return simulate(tiny(), prompt=PROMPT, tokens=5, out=folder), read_run(folder)


def test_tokens_are_those_of_greedy_decoding(stored):
    assert stored[0].prompt == tuple(PROMPT)
    assert stored[0].generated == greedy(tiny(), PROMPT, 5)


def test_phases_follow_each_other_and_hold_all_tokens_but_the_last(stored):
    prefill, decode = stored[0].phases
    assert (prefill.name, prefill.tokens) == ("prefill", 3)
    assert (decode.name, decode.tokens) == ("decode", 4)  # the fifth is sampled, not processed
    assert 0 == prefill.start_ps < prefill.end_ps == decode.start_ps < decode.end_ps
    times = stored[0].logits_ps
    assert times[0] == prefill.end_ps and times[-1] == decode.end_ps
    assert list(times) == sorted(set(times)) and len(times) == 5


def test_a_folder_holds_the_run_that_was_returned(stored):
    run, kept = stored
    assert kept.run == run
    assert set(kept.provenance) == {"date", "machine", "python", "wall_s", "versions"}
    assert kept.activity.stacked("layers.0.attn_in").shape == (7, 32)
    assert kept.activity.stacked("head_in").shape == (5, 32)


def test_a_run_says_what_it_ran(stored):
    run, program = stored[0], tiny()
    assert run.program_hash == program.hash
    assert run.macs_per_token == sum(lin.n_pre * lin.n_post for lin in program.graph.linears)
    assert (run.n_cores, run.n_chips) == (program.n_cores, program.n_chips)
    assert (run.target, run.coding, run.k) == ("toy", "bitwise", 3.0)
    assert run.chip == json.loads(program.chip_text)
    assert set(run.operations) == set(program.ops)
    assert run.events["busiest_core_ps"] <= run.phases[-1].end_ps
    assert 1 <= run.max_streams <= program.max_streams


def test_sites_are_summed_over_their_tokens(stored):
    run, kept = stored
    for site in run.sites:
        counts = kept.activity.stacked(site.site)
        assert (site.tokens, site.n) == counts.shape
        assert site.silent == int((counts == 0).sum())
        assert site.max_count == int(abs(counts).max())
        coding = tiny().codings[site.site][0]
        bits = [n.bit_count() if coding == "bitwise" else n != 0
                for n in abs(counts.astype(np.int64)).ravel().tolist()]  # fmt: skip
        assert site.spikes == sum(bits)
        assert site.steps == sum(density(row, coding).steps for row in counts)


def test_one_token_is_no_decode_phase(tmp_path):
    run = simulate(tiny(), prompt=PROMPT, tokens=1, out=tmp_path / "run")
    assert [p.name for p in run.phases] == ["prefill"]
    assert len(run.generated) == len(run.logits_ps) == 1
    assert run.generated == greedy(tiny(), PROMPT, 1)


def test_the_programs_own_prompt_is_the_default(tmp_path):
    graph, tensors, _ = model(0, TINY)
    chip = load_chip("toy", TINY_CORE)
    program = compile_graph(graph, tensors, chip, prompt=Prompt(b"\x05\x06", 2))
    run = simulate(program, out=tmp_path / "run")
    assert (run.prompt, len(run.generated)) == ((5, 6), 2)


@pytest.mark.parametrize("options", [{"prompt": b""}, {"tokens": 0}, {"tokens": -3}])
def test_nothing_to_do_is_refused_and_leaves_no_folder(options, tmp_path):
    with pytest.raises(BadInput) as caught:
        simulate(tiny(), **({"prompt": PROMPT, "tokens": 2} | options), out=tmp_path / "run")
    assert caught.value.where in ("--prompt", "--tokens")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prompt", [b"A", "A", [65], (3, 65)])
def test_a_token_beyond_the_vocabulary_is_refused(prompt, tmp_path):
    with pytest.raises(BadInput, match="token id 65; the vocabulary has 20"):
        simulate(tiny(), prompt=prompt, tokens=1, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_token_ids_run_like_the_bytes_they_are(stored, tmp_path):
    run = simulate(tiny(), prompt=[3, 17, 8], tokens=5, out=tmp_path / "run")
    assert run == stored[0]


def test_without_weights_nothing_runs(tmp_path):
    bare = map_graph(tiny().graph, tiny().chip, prompt=Prompt((1, 2), 3))
    with pytest.raises(BadInput, match="no weights") as caught:
        simulate(bare, out=tmp_path / "run")
    assert caught.value.fix == "compile a checkpoint, or run it with --workload profile"
    assert list(tmp_path.iterdir()) == []


def test_without_a_prompt_one_is_asked_for(tmp_path):
    assert tiny().prompt.ids == ()
    with pytest.raises(BadInput, match="no prompt of its own"):
        simulate(tiny(), tokens=1, out=tmp_path / "run")


WORDS = replace(TINY, vocab_size=VOCAB + 10)


@pytest.fixture(scope="module")
def reading():
    """A model with a tokenizer of its own."""
    graph, tensors, _ = model(0, WORDS)
    program = compile_graph(graph, tensors, load_chip("toy", TINY_CORE))
    return replace(program, tokenizer=np.frombuffer(tokenizer_json(), np.uint8))


def test_text_goes_in_and_out_by_the_models_tokenizer(reading, tmp_path):
    library = Tokenizer.from_str(tokenizer_json().decode())
    reading.write(tmp_path / "a.sbx")
    program = Program.read(tmp_path / "a.sbx")
    run = simulate(program, prompt="the cat", tokens=2, out=tmp_path / "run")
    assert run.prompt == tuple(library.encode("the cat").ids)
    assert run.generated == greedy(reading, run.prompt, 2)
    assert run.text == program.text.decode((*run.prompt, *run.generated))
    assert run.text.startswith("<s>the cat")
    assert simulate(program, prompt=run.prompt, tokens=2, out=tmp_path / "two") == run


def test_an_altered_tokenizer_is_refused_before_the_run(reading, tmp_path):
    reading.write(tmp_path / "a.sbx")
    data = (tmp_path / "a.sbx").read_bytes()
    assert data.count(tokenizer_json()) == 1
    (tmp_path / "a.sbx").write_bytes(data.replace(b"Byte", b"byte"))
    with pytest.raises(BadInput, match="section tokenizer is missing or altered"):
        simulate(Program.read(tmp_path / "a.sbx"), prompt=[1], out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_checking_changes_no_counter(stored, tmp_path):
    steps = []
    run = simulate(
        tiny(), prompt=PROMPT, tokens=5, check=True, out=tmp_path / "run",
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert run == stored[0]
    assert ("check", 7, 7) in steps
    assert {step for step, _, _ in steps} == {"prefill", "decode", "check"}


@pytest.mark.parametrize("slots", [1, 2])
def test_slots_change_no_token(slots, stored, tmp_path):
    run = simulate(tiny(), prompt=PROMPT, tokens=5, slots=slots, out=tmp_path / "run")
    assert run.generated == stored[0].generated


def test_barrier_sync_changes_times_and_no_token(stored, tmp_path):
    run = simulate(
        tiny(), prompt=PROMPT, tokens=5, sync="barrier", check=True, out=tmp_path / "run"
    )
    assert (stored[0].sync, [p.steps for p in stored[0].phases]) == ("dataflow", [0, 0])
    assert run.sync == "barrier"
    assert run.generated == stored[0].generated
    assert run.chip == stored[0].chip
    prefill, decode = run.phases
    # a token at a time takes more steps per token than several at once
    assert 0 < prefill.steps / prefill.tokens < decode.steps / decode.tokens
    neurons = sum(lin.n_post for lin in tiny().graph.linears)
    for phase in run.phases:
        updates = sum(kinds.get("neuron_update", 0) for kinds in phase.counters.values())
        assert updates == neurons * phase.steps
        barriers = phase.steps * tiny().chip.timing.barrier_ps
        assert 0 < barriers < phase.end_ps - phase.start_ps
    assert read_run(tmp_path / "run").run == run


def test_the_targets_own_sync_is_the_default(tmp_path):
    barrier = tiny(sync="barrier")
    assert simulate(barrier, prompt=PROMPT, tokens=1, out=tmp_path / "a").sync == "barrier"
    flow = simulate(barrier, prompt=PROMPT, tokens=1, sync="dataflow", out=tmp_path / "b")
    assert (flow.sync, flow.phases[0].steps) == ("dataflow", 0)


def test_a_machine_with_one_wrong_weight_fails_the_check_and_leaves_no_folder(
    monkeypatch, tmp_path
):
    def faulty(*arguments):
        fixed = fixed_arrays(*arguments)
        fixed.weight[: 32 * 4] ^= 0x40
        return fixed

    monkeypatch.setattr(drive, "fixed_arrays", faulty)
    with pytest.raises(GateFailed, match=r"layers\.0\.qkvg, token 0"):
        simulate(tiny(), prompt=PROMPT, tokens=1, check=True, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_numbered_above_those_there(monkeypatch, tmp_path):
    monkeypatch.setattr(api, "RUNS", tmp_path)
    assert next_folder("lm", "toy").name == "lm-toy-1"
    for name in ("lm-toy-2", "lm-toy-9", "lm-toy-x", "lm-toy-extra-44", "other-toy-50"):
        (tmp_path / name).mkdir()
    assert next_folder("lm", "toy") == tmp_path / "lm-toy-10"
    program = replace(tiny(), graph=replace(tiny().graph, model="lm"))
    simulate(program, prompt=PROMPT, tokens=1)
    assert read_run(tmp_path / "lm-toy-10").run.model == "lm"

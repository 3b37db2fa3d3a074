"""From a checkpoint to a program: passes in order, refusals by name, limits by resource."""

import json

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from compiler.frontends.config import GlaSwaConfig
from compiler.pipeline import DEFAULT_PROMPT, STEPS, WEIGHTS, compile_graph, compile_model
from compiler.program import Program, Prompt
from compiler.statistics import shipped_profile
from examples.byte_lm.model import random_checkpoint
from hw_models.chip import load_chip
from hw_models.errors import BadInput, DoesNotFit, Unsupported, Usage
from tests.small import model
from tests.tiny import TINY, TINY_CORE
from tests.tokenizers import VOCAB, tokenizer_json

GRAPH, TENSORS, _ = model(0, TINY)


def compiled(overrides=None, target="toy", **options):
    return compile_graph(GRAPH, TENSORS, load_chip(target, overrides or {}), **options)


def test_progress_names_every_step_in_order(tiny_model):
    seen = []
    program = compile_model(tiny_model, "toy", progress=lambda *step: seen.append(step))
    mapping = [row for row in seen if row[0] in STEPS]
    assert [step for step, _, _ in mapping[:-1]] == list(STEPS)
    assert [done for _, done, _ in mapping] == list(range(len(STEPS) + 1))
    assert {total for _, _, total in mapping} == {len(STEPS)}
    n = len(seen) - len(mapping) - 1
    assert n > len(program.graph.linears)
    assert seen[len(mapping) :] == [(WEIGHTS, done, n) for done in range(n + 1)]


def test_a_file_gives_the_program_of_its_graph(tiny_model, tmp_path):
    from compiler.frontends.read import read_model

    found = compile_model(
        tiny_model, "toy", coding="ternary", k=2.5, prompt=b"ab", tokens=3,
        overrides={"core.lanes": "2"},
    )  # fmt: skip
    graph, tensors = read_model(tiny_model)
    chip = load_chip("toy", {"core.lanes": "2"})
    same = compile_graph(
        graph, tensors, chip, coding="ternary", k=2.5, prompt=Prompt(b"ab", 3)
    )  # fmt: skip
    assert found.hash == same.hash
    found.write(tmp_path / "model.sbx")
    assert Program.read(tmp_path / "model.sbx").hash == same.hash
    assert found.chip.core.lanes == 2
    assert (found.coding, found.k, found.prompt) == ("ternary", 2.5, Prompt(b"ab", 3))


@pytest.fixture
def published(tmp_path):
    """A folder as published models come, with a tokenizer.json."""
    config = GlaSwaConfig(
        vocab_size=VOCAB + 10,  # rows that no token has, as in published models
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        sliding_window=4,
    )
    checkpoint = random_checkpoint(config, seed=0)
    folder = tmp_path / "Brain"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(checkpoint["config"]))
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    save_file(checkpoint["state_dict"], folder / "model.safetensors")
    return folder


def test_a_file_that_is_written_is_the_program_in_memory(published, tmp_path):
    whole = compile_model(published, "toy", prompt="the cat")
    found = compile_model(published, "toy", prompt="the cat", out=tmp_path / "streamed.sbx")
    whole.write(tmp_path / "whole.sbx")
    streamed = (tmp_path / "streamed.sbx").read_bytes()
    assert streamed == (tmp_path / "whole.sbx").read_bytes()
    assert found.hash == whole.hash
    for name, array in whole.arrays.items():
        assert (found.arrays[name][:] == array).all()


def test_text_becomes_the_ids_of_the_models_tokenizer(published):
    program = compile_model(published, "toy", prompt=b"the cat")
    assert program.text.kind == "tokenizer"
    assert program.text.tokenizer == tokenizer_json()
    library = Tokenizer.from_str(tokenizer_json().decode())
    assert program.prompt.ids == tuple(library.encode("the cat").ids)
    assert compile_model(published, "toy", prompt=[5, VOCAB + 9]).prompt.ids == (5, VOCAB + 9)
    default = compile_model(published, "toy").prompt.ids
    assert default == tuple(library.encode(DEFAULT_PROMPT.decode()).ids)


def test_without_a_tokenizer_there_is_no_prompt_of_text(published):
    (published / "tokenizer.json").unlink()
    program = compile_model(published, "toy")
    assert (program.text.kind, program.prompt) == ("ids", Prompt((), 64))
    with pytest.raises(BadInput, match="text has no token ids here"):
        compile_model(published, "toy", prompt=b"the cat")
    with pytest.raises(BadInput, match=f"token id {VOCAB + 10}"):
        compile_model(published, "toy", prompt=[VOCAB + 10])


def test_a_damaged_tokenizer_is_refused_whatever_the_prompt(published):
    (published / "tokenizer.json").write_bytes(tokenizer_json()[:-9])
    for prompt in (None, "the cat", [1, 2]):
        with pytest.raises(BadInput, match="not a usable tokenizer"):
            compile_model(published, "toy", prompt=prompt)
    (published / "tokenizer.json").write_bytes(b" " * (1 << 26) + b"{}")
    with pytest.raises(BadInput, match="larger than"):
        compile_model(published, "toy")


def test_a_config_alone_maps_like_its_checkpoint(published, tmp_path):
    whole = compile_model(published, "toy", prompt="the cat")
    (published / "model.safetensors").unlink()
    for path in (published, published / "config.json"):
        bare = compile_model(path, "toy", prompt="the cat")
        assert not bare.has_weights
        assert bare.header == whole.header and bare.text == whole.text
        written = compile_model(path, "toy", prompt="the cat", out=tmp_path / "bare.sbx")
        assert written.hash == bare.hash
        assert Program.read(tmp_path / "bare.sbx").header == whole.header


def test_a_preset_maps_like_its_config(monkeypatch, tmp_path, published):
    from compiler.frontends import read

    monkeypatch.setattr(read, "PRESETS", tmp_path)
    (published / "config.json").rename(tmp_path / "small-1b.json")
    program = compile_model(preset="small-1b", target="toy")
    assert program.graph.model == "small-1b" and not program.has_weights
    assert program.prompt == Prompt((), 64)
    with pytest.raises(BadInput, match="no preset 'small-2b'") as caught:
        compile_model(preset="small-2b", target="toy")
    assert caught.value.fix == "one of: small-1b"


def test_a_model_is_one_thing_or_the_other(tiny_model):
    for arguments in ({}, {"path": tiny_model, "preset": "qwen2.5-7b"}):
        with pytest.raises(Usage) as caught:
            compile_model(**arguments)
        assert caught.value.where == "MODEL and --preset"


def test_what_a_program_says_of_itself():
    program = compiled(TINY_CORE)
    used = {c for c, kind in zip(program.tables.task_core, program.tables.task_kind, strict=True)
            if kind != 2}  # fmt: skip
    assert program.n_cores == len(used) == program.bounds["cores"]["achieved"]
    assert program.n_chips == program.bounds["chips"]["achieved"] == 2
    assert program.prompt == Prompt((), 64)  # 20 tokens have no ids for it
    assert program.statistics["sha256"] == shipped_profile().sha256
    assert program.statistics["origin"] == shipped_profile().origin
    rates = dict.fromkeys((site.name for site in program.graph.sites), 1.13)
    assert program.statistics["spikes_per_channel"] == rates | {"head_in": 1.0}
    assert json.loads(program.chip_text)["name"] == "toy"
    assert program.ops[0] == "host"
    assert len(set(program.ops)) == len(program.ops)
    assert program.max_streams == 1
    assert compiled({"core.state_memory": "1 MiB"}).max_streams > 1


def test_partial_sums_are_as_wide_as_the_counts_can_make_them():
    for k in (1.0, 3.0, 9.0):
        program = compiled(k=k)
        for linear in program.graph.linears:
            dense = program.graph.site(linear.site).threshold == "absmax16"
            most = 127 * 32767 * linear.n_pre * (32767 if dense else k + 0.5)
            bits = program.partial_bits[linear.name]
            assert most <= 2 ** (bits - 1) < 2 * most


@pytest.mark.parametrize("k", [0.0, 0.24, 64.1, -3.0, float("nan"), float("inf")])
def test_k_has_a_range(k):
    with pytest.raises(BadInput, match="k is") as caught:
        compiled(k=k)
    assert caught.value.where == "--k"


def test_prompts_are_not_empty_and_something_is_decoded(tiny_model):
    for prompt in (b"", "", []):
        with pytest.raises(BadInput, match="the prompt is empty"):
            compile_model(tiny_model, "toy", prompt=prompt)
    with pytest.raises(BadInput, match="0 tokens"):
        compiled(prompt=Prompt(b"a", 0))


@pytest.mark.parametrize("coding", ["morse", "", "Bitwise"])
def test_a_coding_that_does_not_exist(coding):
    with pytest.raises(Unsupported, match="cannot carry"):
        compiled(coding=coding)


@pytest.mark.parametrize("coding", ["binary", "bitwise-2c"])
def test_a_coding_that_is_not_mapped_yet_names_those_that_are(coding):
    with pytest.raises(Unsupported, match=f"cannot map {coding} spikes") as caught:
        compiled(coding=coding)
    assert caught.value.fix == "one of: ternary, bitwise, graded"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"core.synapse_memory": "31 B"}, "synapse memory"),
        ({"core.state_memory": "300 B", "core.pending_decays": "0"}, "bytes of state"),
        ({"core.state_memory": "300 B"}, "one column of a head's state needs"),
        ({"core.in_axons": "31"}, "in-axons"),
        ({"core.out_axons": "1"}, "of out-axons, a core of toy has 1"),
        ({"core.neurons": "3"}, "neurons on one core"),
        ({"core.table_entries": "3"}, "the router's table has 3"),
        ({"layout.chips": "[1, 1]", **TINY_CORE}, "cores needed, 16 usable on 1 chips"),
        ({"layout.usable_cores": "1", "layout.chips": "[3, 2]", **TINY_CORE},
         "cores needed, 6 usable on 6 chips"),
    ],
)  # fmt: skip
def test_what_does_not_fit_names_the_resource(overrides, said):
    with pytest.raises(DoesNotFit) as caught:
        compiled(overrides)
    assert said in caught.value.what
    assert caught.value.where
    assert caught.value.fix


def test_dead_cores_are_left_out_until_too_few_are_alive():
    n = compiled(TINY_CORE).n_cores
    dead = frozenset(range(0, 1024, 3))
    program = compiled(TINY_CORE | {"layout.dead_cores": str(sorted(dead))})
    assert program.n_cores == n
    assert not dead & set(program.tables.task_core.tolist())
    alive = frozenset(range(1024)) - set(range(n - 1))
    with pytest.raises(DoesNotFit, match=f"{n} cores needed, {n - 1} usable on 64 chips"):
        compiled(TINY_CORE | {"layout.dead_cores": str(sorted(alive))})


def test_odd_sizes_compile():
    for hidden, inner, vocab in ((12, 7, 5), (132, 130, 257)):
        config = GlaSwaConfig(
            vocab_size=vocab, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=3,
            num_key_value_heads=1, intermediate_size=inner, sliding_window=1,
        )  # fmt: skip
        graph, tensors, _ = model(3, config)
        chip = load_chip("toy", {"core.state_memory": "16 KiB"})
        assert compile_graph(graph, tensors, chip).graph.vocab == vocab


def test_the_first_weight_that_is_no_number_is_named():
    tensors = random_checkpoint(TINY, 0)["state_dict"]
    name = sorted(tensors)[3]
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    with pytest.raises(BadInput, match="NaN") as caught:
        compile_graph(GRAPH, tensors, load_chip("toy"))
    assert caught.value.where == name

"""Published models without their weights: a name or a config.json is enough for the graph."""

import json
import shutil
import struct

import pytest

from compiler.audit.graph import verify
from compiler.frontends.read import PRESETS, preset, preset_names, read_config, read_source
from compiler.graph import Gla, Window
from hw_models.errors import BadInput, Unsupported


def test_the_presets_are_the_published_models():
    names = ["llama-3.1-8b", "qwen2.5-7b", "spikingbrain-76b", "spikingbrain-7b"]
    assert preset_names() == names
    for name in preset_names():
        graph = preset(name)
        verify(graph)
        assert graph.model == name
        assert json.loads((PRESETS / f"{name}.json").read_text())["source"]


@pytest.mark.parametrize(
    ("name", "block_macs", "head_macs"),
    [
        # 6.526 G with the published low-rank gate; multiplied out, 14 gates cost 24.8 M more
        ("spikingbrain-7b", 6.526e9 + 24.8e6, 0.545e9),
        ("qwen2.5-7b", 6.525e9, 0.545e9),
        ("llama-3.1-8b", 6.979e9, 0.525e9),
        # Qwen2.5-7B's attention, a second feed-forward layer on 21 of 28, 21 routers
        ("spikingbrain-76b", 6.525e9 + 21 * 203.69e6 + 1.2e6, 0.545e9),
    ],
)
def test_a_token_costs_the_published_multiplications(name, block_macs, head_macs):
    graph = preset(name)
    head = graph.linear("head")
    assert head.n_pre * head.n_post == pytest.approx(head_macs, abs=0.5e6)
    assert graph.macs() - head.n_pre * head.n_post == pytest.approx(block_macs, abs=1e6)


def test_spikingbrain_alternates_and_the_others_attend_to_their_context():
    stages = [s for s in preset("spikingbrain-7b", context=9).stages if isinstance(s, Gla | Window)]
    assert [type(s) for s in stages] == [Gla, Window] * 14
    assert {s.window for s in stages if isinstance(s, Window)} == {4096}
    for name, layers in (("qwen2.5-7b", 28), ("llama-3.1-8b", 32)):
        for context, window in ((None, 4096), (100_000, 100_000)):
            found = [s for s in preset(name, context).stages if isinstance(s, Window)]
            assert [s.window for s in found] == [window] * layers
    assert preset("llama-3.1-8b").stages[1].scaling == (8.0, 1.0, 4.0, 8192.0)
    with pytest.raises(BadInput, match="131073"):
        preset("qwen2.5-7b", 131_073)


@pytest.mark.parametrize("name", ["spikingbrain-7", "", "../presets/qwen2.5-7b", "\x1b[31m"])
def test_an_unknown_preset_is_refused_and_all_are_listed(name):
    with pytest.raises(BadInput, match="no preset") as refused:
        preset(name)
    assert refused.value.fix == f"one of: {', '.join(preset_names())}"
    assert str(refused.value).isprintable()


def test_a_config_alone_gives_the_graph_of_its_folder(tmp_path):
    folder = tmp_path / "My-Model"
    folder.mkdir()
    shutil.copy(PRESETS / "qwen2.5-7b.json", folder / "config.json")
    graph = read_config(folder / "config.json", 64)
    assert graph == read_config(folder, 64)
    assert graph.model == "My-Model" and graph.stages == preset("qwen2.5-7b", 64).stages


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("[]", BadInput, "not a JSON object"),
        ("{", BadInput, "truncated"),
        ("{}", Unsupported, "no model_type"),
        ('{"model_type": "mamba"}', Unsupported, "'mamba'"),
        ('{"model_type": "llama"}', BadInput, "num_hidden_layers is missing"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path, text, error, said):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=said):
        read_config(tmp_path / "config.json")


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"no config\.json"):
        read_config(tmp_path)


@pytest.fixture
def bare(tmp_path):
    """A folder with a config.json only."""
    folder = tmp_path / "My-Model"
    folder.mkdir()
    shutil.copy(PRESETS / "llama-3.1-8b.json", folder / "config.json")
    return folder


def test_a_source_without_weights_is_a_config_or_a_folder_with_nothing_else(bare):
    graph = read_config(bare, 64)
    (bare / "README.md").touch()
    (bare / "tokenizer.json").write_bytes(b"anything")
    for path in (bare, bare / "config.json"):
        found = read_source(path, 64)
        assert (found.graph, found.tensors, found.tokenizer) == (graph, None, b"anything")
    named = (bare / "config.json").rename(bare / "llama.json")
    assert read_source(named, 64).graph.model == "llama"


@pytest.mark.parametrize(
    "name",
    [
        "model-00001-of-00004.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "consolidated.00.pth",
        "model-q4.gguf",
        "tf_model.h5",
    ],
)
def test_weights_that_are_not_read_are_not_done_without(bare, name):
    (bare / name).write_text("{}")
    with pytest.raises(BadInput):
        read_source(bare)


@pytest.mark.parametrize("text", ['{"a": {}}', ' \n{"abcd":{"e": 1}}', '{"abcdef":{"g":[]}}', "{"])
def test_json_is_never_taken_for_safetensors(tmp_path, text):
    """A brace in the ninth place begins the header of a safetensors file, too."""
    (tmp_path / "x").write_text(text)
    with pytest.raises((BadInput, Unsupported), match=r"model_type|truncated or altered"):
        read_source(tmp_path / "x")


def test_safetensors_are_never_taken_for_json(bare):
    """A header of 379 bytes: its length begins with the byte of a brace."""
    head = b"{}".ljust(379)
    assert struct.pack("<Q", len(head)).startswith(b"{")
    (bare / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    with pytest.raises(BadInput, match=r"tensor model\.\S+ is missing"):
        read_source(bare / "model.safetensors")

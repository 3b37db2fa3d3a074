"""Weights in several files: exactly what the index says, in its own folder, one at a time."""

import json
import resource
import shutil
import struct

import pytest
import torch
from safetensors.torch import save_file

from compiler.frontends.read import read_model
from hw_models.errors import BadInput

INDEX = "model.safetensors.index.json"
FILES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def sharded(checkpoint, tmp_path):
    """The tiny model in two files, its tensors dealt out in turn; returns folder and tensors."""
    folder = tmp_path / "Model-0B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(checkpoint["config"]))
    state = checkpoint["state_dict"]
    where = {name: FILES[i % 2] for i, name in enumerate(state)}
    for file in FILES:
        save_file({n: t for n, t in state.items() if where[n] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return folder, state


def change(folder, **entries):
    """Rewrite entries of the index: tensor=file, or None to drop it."""
    index = json.loads((folder / INDEX).read_text())
    changed = index["weight_map"] | entries
    index["weight_map"] = {n: f for n, f in changed.items() if f is not None}
    (folder / INDEX).write_text(json.dumps(index))


def refused(folder):
    with pytest.raises(BadInput) as caught:
        read_model(folder)
    assert str(folder) in caught.value.where
    assert str(caught.value).isprintable() and len(caught.value.what) < 200
    return caught.value.what


def test_several_files_read_like_one(sharded):
    folder, state = sharded
    graph, tensors = read_model(folder)
    assert graph.model == "Model-0B"
    assert tensors.keys() == state.keys() and len(tensors) == len(state)
    assert all(torch.equal(tensors[n], t) for n, t in state.items())


def test_files_may_be_links_as_download_caches_keep_them(sharded, tmp_path):
    folder, state = sharded
    for file in FILES:
        (folder / file).rename(tmp_path / f"blob-{file}")
        (folder / file).symlink_to(tmp_path / f"blob-{file}")
    _, tensors = read_model(folder)
    assert torch.equal(tensors["lm_head.weight"], state["lm_head.weight"])


@pytest.mark.parametrize(
    "file",
    [
        *("../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", ".."),
        *("..\\model.safetensors", "C:model.safetensors", "", "model.pt", "config.json"),
        *("m\x00.safetensors", "\x1b[31m.safetensors", "x" * 300 + ".safetensors"),
        *(None, 7, ["model.safetensors"], {}),
    ],
)
def test_an_index_names_only_files_beside_it(sharded, tmp_path, file):
    folder, state = sharded
    save_file(state, tmp_path / "model.safetensors")  # it exists, and must not be opened
    index = {"weight_map": {name: file for name in state}}
    (folder / INDEX).write_text(json.dumps(index))
    assert "no safetensors file of this folder" in refused(folder)


def test_a_missing_file_is_named(sharded):
    folder, _ = sharded
    (folder / FILES[1]).unlink()
    assert refused(folder) == f"{FILES[1]} is missing"


def test_a_tensor_in_two_files_is_named(sharded):
    folder, state = sharded
    both = {"lm_head.weight": state["lm_head.weight"]}
    for extra in FILES:  # one of them holds it already
        names = json.loads((folder / INDEX).read_text())["weight_map"]
        save_file({n: t for n, t in state.items() if names[n] == extra} | both, folder / extra)
    change(folder, **{"lm_head.weight": FILES[1]})
    assert "lm_head.weight" in refused(folder)
    change(folder, **{"lm_head.weight": FILES[0]})
    assert f"lm_head.weight is in {FILES[0]} as well" in refused(folder)


def test_a_tensor_that_is_listed_but_absent_is_named(sharded):
    folder, _ = sharded
    change(folder, **{"model.layers.7.attn_norm.weight": FILES[0]})
    assert refused(folder) == f"tensor model.layers.7.attn_norm.weight is not in {FILES[0]}"


def test_a_tensor_in_another_file_than_listed_or_not_listed_is_named(sharded):
    folder, _ = sharded
    names = json.loads((folder / INDEX).read_text())["weight_map"]
    other = FILES[names["lm_head.weight"] == FILES[0]]
    change(folder, **{"lm_head.weight": other})
    assert f"lm_head.weight, which the index puts in {other}" in refused(folder)
    change(folder, **{"lm_head.weight": None})
    assert "lm_head.weight, which the index puts in no file" in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"weight_map": 7}', '{"weight_map": {}}', '{"weight_map": ["a"]}', "\xff"],
)
def test_an_index_that_is_none_is_refused(sharded, text):
    folder, _ = sharded
    (folder / INDEX).write_text(text, encoding="latin-1")
    refused(folder)


def test_a_truncated_file_is_named(sharded):
    folder, _ = sharded
    whole = (folder / FILES[0]).read_bytes()
    for size in (0, 4, 9, len(whole) // 2, len(whole) - 1):
        (folder / FILES[0]).write_bytes(whole[:size])
        assert "truncated" in refused(folder)


def test_a_file_that_vanishes_after_it_was_opened_is_a_sentence(sharded):
    folder, _ = sharded
    _, tensors = read_model(folder)
    shutil.rmtree(folder)
    with pytest.raises(BadInput) as caught:
        tensors["lm_head.weight"]
    assert str(folder) in caught.value.where


def test_reading_a_model_reads_no_weights(tmp_path):
    """16 GiB of weights (holes in the file) open within 0.5 GiB, and small tensors are read."""
    hidden, ffn = 1 << 15, 1 << 16
    config = {"model_type": "llama", "vocab_size": 8, "hidden_size": hidden}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 256, "num_key_value_heads": 8}
    config |= {"intermediate_size": ffn, "tie_word_embeddings": True}
    shapes = {"model.embed_tokens.weight": (8, hidden), "model.norm.weight": (hidden,)}
    at = "model.layers.0."
    shapes |= {
        at + f"{n}.weight": (hidden,) for n in ("input_layernorm", "post_attention_layernorm")
    }
    shapes |= {at + f"self_attn.{n}_proj.weight": (hidden, hidden) for n in "qo"}
    shapes |= {at + f"self_attn.{n}_proj.weight": (1024, hidden) for n in "kv"}
    shapes |= {at + f"mlp.{n}_proj.weight": (ffn, hidden) for n in ("gate", "up")}
    shapes[at + "mlp.down_proj.weight"] = (hidden, ffn)
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    (tmp_path / "config.json").write_text(json.dumps(config))
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    assert end > 16 * 2**30
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _, tensors = read_model(tmp_path)
    assert not tensors["model.norm.weight"].any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB

"""Random checkpoints have the size that was asked for, and are read like published ones."""

import json
import math

import pytest
import torch

from benchmarks.random_checkpoint import OWN, config_of, count, write
from compiler.frontends.read import read_source


@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize("weights", [1e9, 7e9])
def test_the_config_has_about_as_many_weights_as_wanted(family, weights):
    assert count(config_of(weights, family=family)) == pytest.approx(weights, rel=0.03)


@pytest.mark.parametrize("family", OWN)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_shards_of_a_folder_are_one_model(tmp_path, family, dtype):
    config = config_of(1e6, hidden=128, vocab=500, family=family)
    weights = write(tmp_path, config, dtype, shard=4e5)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) >= 3
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json", "model.safetensors.index.json", *shards
    }  # fmt: skip
    found = read_source(tmp_path)
    assert sum(t.numel() for t in found.tensors.values()) == weights == count(config)
    for tensor in found.tensors.values():
        assert tensor.dtype == getattr(torch, dtype)
        if tensor.dim() == 2 and tensor.shape[0] != 500:
            assert tensor.float().std().item() == pytest.approx(tensor.shape[1] ** -0.5, rel=0.1)


def test_tied_heads_and_embeddings_are_stored_once(tmp_path):
    config = config_of(1e6, hidden=128, vocab=500, tied=True)
    write(tmp_path, config)
    found = read_source(tmp_path)
    assert found.graph.linears[-1].parts[0].weight == found.graph.embedding
    assert sum(math.prod(t.shape) for t in found.tensors.values()) == count(config)


def test_a_seed_gives_the_same_weights(tmp_path):
    config = config_of(1e6, hidden=128, vocab=500)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write(tmp_path / name, config, seed=seed)
    (file,) = (p.name for p in (tmp_path / "a").glob("*.safetensors"))
    one, same, other = ((tmp_path / name / file).read_bytes() for name in "abc")
    assert one == same != other

"""A two-layer model with random weights, as every format that can be read."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from compiler.frontends.config import GlaSwaConfig
from examples.byte_lm.model import random_checkpoint

TINY = GlaSwaConfig(
    vocab_size=17,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    intermediate_size=10,
    sliding_window=4,
)


@pytest.fixture(scope="session")
def _original():
    return random_checkpoint(TINY, seed=0)


@pytest.fixture
def checkpoint(_original):
    """{"format", "config", "state_dict"}, for the test to change."""
    return copy.deepcopy(_original)


@pytest.fixture
def saved(tmp_path):
    """Write an object with torch.save; returns its path."""

    def save(content, name="model.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def published(tmp_path):
    """Write a folder with config.json and model.safetensors; returns its path."""

    def save(content, name="SpikingBrain-0B-v1.5"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(content["config"]))
        save_file(content["state_dict"], folder / "model.safetensors")
        return folder

    return save

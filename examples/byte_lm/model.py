"""The byte LM: SpikingBrain-7B's shape at small size, its first weights, its file."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import tensor_shapes

JOINING = ("o_proj.weight", "down_proj.weight")
"""Linears whose outputs are added to the residual stream."""
FORMAT = "spikeloom-checkpoint-1"
BYTE_LM = GlaSwaConfig(
    vocab_size=256,
    hidden_size=256,
    num_hidden_layers=6,
    num_attention_heads=8,
    num_key_value_heads=4,
    intermediate_size=896,
    sliding_window=128,
)


def first_weights(config: GlaSwaConfig, seed: int, trained: bool = True) -> dict[str, Tensor]:
    """Float32 weights to start from. `trained` zeroes what joins the residual stream, as
    training likes it; False leaves everything random, so that an untrained model computes."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in tensor_shapes(config).items():
        if name.endswith("norm.weight"):
            weights[name] = torch.ones(shape)
        elif name.endswith("gk_proj.bias"):
            # decays sigmoid(b)^(1/16) from 0.96 to 0.9998: memories of 20 to 6,000 tokens
            weights[name] = torch.linspace(0, 6, shape[0])
        elif name.endswith("bias") or (trained and name.endswith(JOINING)):
            weights[name] = torch.zeros(shape)
        else:
            std = 1.0 if name.startswith("model.emb") else 0.8 / math.sqrt(shape[1])
            weights[name] = torch.randn(shape, generator=generator) * std
    return weights


def checkpoint(config: GlaSwaConfig, weights: dict[str, Tensor]) -> dict[str, Any]:
    """A plain dict of format, config and bfloat16 state dict."""
    keys = GlaSwaConfig.__dataclass_fields__
    return {
        "format": FORMAT,
        "config": {
            "model_type": "gla_swa",
            "hidden_act": "swish",
            "tie_word_embeddings": False,
            **{key: getattr(config, key) for key in keys},
        },
        "state_dict": {n: w.detach().to(torch.bfloat16).clone() for n, w in weights.items()},
    }


def random_checkpoint(config: GlaSwaConfig, seed: int) -> dict[str, Any]:
    """An untrained model; for tests and first steps."""
    return checkpoint(config, first_weights(config, seed, trained=False))


def load(path: Path) -> tuple[GlaSwaConfig, dict[str, Tensor]]:
    """Config and float32 weights of a checkpoint of ours."""
    found = torch.load(path, weights_only=True)
    keys = GlaSwaConfig.__dataclass_fields__
    config = GlaSwaConfig(**{k: v for k, v in found["config"].items() if k in keys})
    return config, {n: w.float() for n, w in found["state_dict"].items()}

"""Write a checkpoint of random weights, laid out as published ones are:

    python -m benchmarks.random_checkpoint FOLDER --weights 1e9 --dtype bfloat16

config.json, shards of safetensors and their index. The model has the widths given and as many
layers as come nearest to the number of weights. Memory holds one shard.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from compiler.frontends.read import FAMILIES

DTYPES = ("bfloat16", "float16", "float32")
OWN = {
    "gla_swa": {"sliding_window": 4096},
    "llama": {"max_position_embeddings": 4096, "rms_norm_eps": 1e-6},
    "qwen2": {"max_position_embeddings": 4096},
}
"""What the config.json of a family says besides its sizes."""


def config_of(
    weights: float,
    hidden: int = 2048,
    vocab: int = 32_000,
    family: str = "llama",
    tied: bool = False,
) -> dict[str, Any]:
    """A config.json of about `weights` weights; heads of 128 channels, four per key/value head."""
    heads = max(1, hidden // 128)
    config = {
        "model_type": family,
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": 128 * math.ceil(hidden * 8 / 3 / 128),
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 4),
        "tie_word_embeddings": tied,
        **OWN[family],
    }
    one, two = (count(config | {"num_hidden_layers": n}) for n in (1, 2))
    config["num_hidden_layers"] = max(1, 1 + round((weights - one) / (two - one)))
    return config


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a config's checkpoint."""
    model = FAMILIES[config["model_type"]](config, "random", None)
    return dict(model.expected({}).shapes)


def count(config: dict[str, Any]) -> int:
    """Weights of all tensors."""
    return sum(math.prod(shape) for shape in shapes_of(config).values())


def write(
    folder: Path, config: dict[str, Any], dtype: str = "bfloat16", shard: float = 5e8, seed: int = 0
) -> int:
    """Write the checkpoint in shards of at least `shard` bytes (but the last); returns its weights.

    Matrices are normal around 0, norms 1: what passes through the model keeps its size.
    """
    rng, kind = np.random.default_rng(seed), getattr(torch, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[list[str]] = [[]]
    held: dict[str, Tensor] = {}
    shapes = shapes_of(config)
    for name, shape in shapes.items():
        held[name] = _values(rng, name, shape).to(kind)
        files[-1].append(name)
        if sum(t.nbytes for t in held.values()) >= shard or name == list(shapes)[-1]:
            save_file(held, folder / f"{len(files)}.tmp")
            files.append([])
            held.clear()
    del files[-1]
    _index(folder, files)
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": dtype}, indent=1))
    return count(config)


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)
    values = torch.from_numpy(rng.standard_normal(shape, np.float32))
    return values if "embed" in name else values.mul_(1 / math.sqrt(shape[1]))


def _index(folder: Path, files: list[list[str]]) -> None:
    """Shards get their names once it is known how many there are."""
    weight_map = {}
    for i, names in enumerate(files, 1):
        shard = f"model-{i:05}-of-{len(files):05}.safetensors"
        (folder / f"{i}.tmp").rename(folder / shard)
        weight_map |= dict.fromkeys(names, shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--weights", type=float, default=1e9, help="how many, about (1e9)")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--family", choices=OWN, default="llama", help="model_type (llama)")
    parser.add_argument("--hidden", type=int, default=2048, help="channels (2048)")
    parser.add_argument("--vocab", type=int, default=32_000, help="tokens (32,000)")
    parser.add_argument("--tied", action="store_true", help="head and embedding are one matrix")
    parser.add_argument("--shard", type=float, default=5e8, help="bytes of a shard (5e8)")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    config = config_of(chosen.weights, chosen.hidden, chosen.vocab, chosen.family, chosen.tied)
    weights = write(chosen.folder, config, chosen.dtype, chosen.shard, chosen.seed)
    print(f"wrote {chosen.folder}: {weights:,} weights in {config['num_hidden_layers']} layers")


if __name__ == "__main__":
    main()

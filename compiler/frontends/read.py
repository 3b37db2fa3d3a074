"""From a checkpoint to a Graph and the tensors it names, every size and shape checked."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final

import torch
from torch import Tensor

from compiler.frontends.checkpoint import Checkpoint, open_checkpoint
from compiler.frontends.config import GlaSwaConfig
from compiler.frontends.gla_swa import build, tensor_shapes
from compiler.frontends.torch_zip import printable
from compiler.graph import Graph
from hw_models.errors import BadInput, Unsupported

MODEL_TYPES: Final = ("gla_swa",)
FLOATS: Final = (torch.float32, torch.bfloat16, torch.float16)

LARGEST: Final = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,  # channels of a site
    "intermediate_size": 1 << 16,
    "num_hidden_layers": 1 << 12,
    "num_attention_heads": 1 << 16,
    "num_key_value_heads": 1 << 16,
    "sliding_window": 1 << 31,
    "gate_logit_normalizer": 1 << 16,
}
"""Above these a config is a mistake, and would only exhaust memory."""

MEANINGS: Final[dict[str, tuple[object, ...]]] = {
    "tie_word_embeddings": (False,),
    "use_short_conv": (False,),
    "hidden_act": ("swish", "silu"),
    "elementwise_affine": (True,),
    "rope_scaling": (None,),
}
"""Keys that change what a gla_swa model computes, and the values that are computed here."""


def read_model(path: Path) -> tuple[Graph, dict[str, Tensor]]:
    """Read a checkpoint without running code from it (frontends.checkpoint lists the formats).

    Returns the operations and the tensors, exactly those of gla_swa.tensor_shapes, as bfloat16,
    float16 or float32. Whether their values are finite is compiler.weights' to check.
    Raises BadInput and Unsupported.
    """
    found = open_checkpoint(path)
    kind = found.config.get("model_type")
    if kind not in MODEL_TYPES:
        what = "config names no model_type" if kind is None else f"model_type {shown(kind)}"
        raise Unsupported(what, where=found.where, fix=f"supported: {', '.join(MODEL_TYPES)}")
    config = gla_swa_config(found.config)
    return build(config, found.name), checked_tensors(config, found)


def gla_swa_config(found: Mapping[str, Any]) -> GlaSwaConfig:
    """The config's numbers; keys that do not change what is computed are ignored.

    Raises BadInput by key for a missing or impossible value, Unsupported for another meaning.
    """
    sizes: dict[str, Any] = {}
    for field in fields(GlaSwaConfig):
        key = field.name
        if key not in found and field.default is MISSING:
            raise BadInput(f"{key} is missing", where="config")
        value = found.get(key, field.default)
        sizes[key] = _size(key, value) if key in LARGEST else _positive(key, value)
    config = GlaSwaConfig(**sizes)
    meanings: dict[str, tuple[object, ...]] = MEANINGS | {
        "attn_layers": (list(range(1, config.num_hidden_layers, 2)),),
        "head_dim": (None, config.head_dim),
    }
    for key, known in meanings.items():
        value = found.get(key, known[0])
        if value not in known:
            raise Unsupported(
                f"{key} is {shown(value)}",
                where="config",
                fix=f"supported: {' or '.join(map(shown, known))}",
            )
    return config


def _size(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{key} is {shown(value)}, not a whole number", where="config")
    if not 1 <= value <= LARGEST[key]:
        raise BadInput(
            f"{key} is {shown(value)}", where="config", fix=f"a number from 1 to {LARGEST[key]:,}"
        )
    return value


def _positive(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadInput(f"{key} is {shown(value)}, not a number", where="config")
    if not 0 < value < 1e30 or not math.isfinite(value):
        raise BadInput(f"{key} is {shown(value)}, not positive and finite", where="config")
    return float(value)


def checked_tensors(config: GlaSwaConfig, found: Checkpoint) -> dict[str, Tensor]:
    """Exactly the model's tensors; the low-rank gate of the published code is multiplied out.

    Raises BadInput naming the tensor that is missing, unknown, or of another shape or dtype.
    """
    shapes = tensor_shapes(config)
    gates = [name for name in shapes if name.endswith("gk_proj.weight")]
    low_rank = {gate: _factors(gate) for gate in gates if _factors(gate)[0] in found.tensors}
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        gate = name.replace(".bias", ".weight")
        if gate not in low_rank:
            expected[name] = shape
        elif name == gate:
            down, up, _ = low_rank[gate]
            rank = _rank(found.tensors[down], config)
            expected |= {down: (rank, shape[1]), up: (shape[0], rank)}
        else:
            expected[low_rank[gate][2]] = shape
    _check_names(expected, found)
    for name, shape in expected.items():
        _check_tensor(name, found.tensors[name], shape)
    return {name: _tensor(name, low_rank, found.tensors) for name in shapes}


def _factors(gate: str) -> tuple[str, str, str]:
    """Names of W0, W1 and the bias where W = W1 W0 (nn.Sequential of two linears)."""
    at = gate.removesuffix("weight")
    return f"{at}0.weight", f"{at}1.weight", f"{at}1.bias"


def _rank(down: Tensor, config: GlaSwaConfig) -> int:
    return max(1, min(down.shape[0], config.hidden_size)) if down.ndim else 1


def _tensor(
    name: str, low_rank: Mapping[str, tuple[str, str, str]], tensors: Mapping[str, Tensor]
) -> Tensor:
    gate = name.replace(".bias", ".weight")
    if gate not in low_rank:
        return tensors[name]
    down, up, bias = low_rank[gate]
    return _product(tensors[up], tensors[down]) if name == gate else tensors[bias]


def _product(up: Tensor, down: Tensor) -> Tensor:
    """up @ down, summed in float64 in one fixed order: the same bits on every machine."""
    total = torch.zeros(up.shape[0], down.shape[1], dtype=torch.float64)
    for column, row in zip(up.double().T, down.double(), strict=True):
        total += column[:, None] * row
    return total.float()


def _check_names(expected: Iterable[str], found: Checkpoint) -> None:
    missing = [name for name in expected if name not in found.tensors]
    extra = sorted(found.tensors.keys() - set(expected))
    if missing:
        near = get_close_matches(missing[0], extra[:1000], n=1)
        raise BadInput(
            f"tensor {missing[0]} is missing{_more(missing)}",
            where=found.where,
            fix=f"is it {printable(near[0])}?" if near else "",
        )
    if extra:
        near = get_close_matches(extra[0], list(expected), n=1)
        raise BadInput(
            f"tensor {printable(extra[0])} has no place in this model{_more(extra)}",
            where=found.where,
            fix=f"the nearest name is {near[0]}" if near else "remove it",
        )


def _more(names: list[str]) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.layout != torch.strided or tensor.dtype not in FLOATS:
        kind = str(tensor.dtype if tensor.layout == torch.strided else tensor.layout)
        raise BadInput(
            f"tensor of {kind.removeprefix('torch.')}",
            where=name,
            fix="float32, bfloat16 or float16",
        )
    if tuple(tensor.shape) != shape:
        raise BadInput(f"shape {list(tensor.shape)}, {list(shape)} expected", where=name)

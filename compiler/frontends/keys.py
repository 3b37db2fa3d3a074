"""Values of a config.json, each checked on its own and named in the error."""

import math
from collections.abc import Mapping
from reprlib import repr as shown
from typing import Any, Final

from hw_models.errors import BadInput, Unsupported

LARGEST: Final = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,  # channels of a site
    "intermediate_size": 1 << 16,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 16,
    "num_key_value_heads": 1 << 10,
    "head_dim": 1 << 16,
    "sliding_window": 1 << 31,
    "max_position_embeddings": 1 << 31,
    "gate_logit_normalizer": 1 << 16,
    "num_experts": 1 << 10,
    "num_experts_per_tok": 1 << 10,
    "moe_intermediate_size": 1 << 16,
    "shared_expert_intermediate_size": 1 << 16,
    "num_sink_tokens": 1 << 16,
}
"""Above these a config is a mistake, and would only exhaust memory."""

REQUIRED: Final = object()


def size(found: Mapping[str, Any], key: str, default: object = REQUIRED) -> int:
    """A whole number from 1 to LARGEST[key]; BadInput otherwise, or if it is required and absent.

    A default other than REQUIRED also stands in for null.
    """
    value = _value(found, key, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInput(f"{key} is {shown(value)}, not a whole number", where="config")
    if not 1 <= value <= LARGEST[key]:
        raise BadInput(
            f"{key} is {shown(value)}", where="config", fix=f"a number from 1 to {LARGEST[key]:,}"
        )
    return value


def positive(found: Mapping[str, Any], key: str, default: object = REQUIRED) -> float:
    """A positive finite number; BadInput otherwise, or if it is required and absent."""
    value = found.get(key, default)
    if value is REQUIRED:
        raise BadInput(f"{key} is missing", where="config")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadInput(f"{key} is {shown(value)}, not a number", where="config")
    if not 0 < value < 1e30 or not math.isfinite(value):
        raise BadInput(f"{key} is {shown(value)}, not positive and finite", where="config")
    return float(value)


def layer_numbers(found: Mapping[str, Any], key: str, layers: int) -> tuple[int, ...]:
    """A list of different layers, 0 to layers - 1, ascending; BadInput otherwise, or if absent."""
    value = _value(found, key, REQUIRED)
    numbers = isinstance(value, list) and all(type(i) is int and 0 <= i < layers for i in value)
    if not isinstance(value, list) or not numbers or len(set(value)) != len(value):
        raise BadInput(
            f"{key} is {shown(value)}",
            where="config",
            fix=f"a list of different layers from 0 to {layers - 1}",
        )
    return tuple(sorted(value))


def check_meanings(found: Mapping[str, Any], meanings: Mapping[str, tuple[object, ...]]) -> None:
    """Keys that change what a model computes, and the values that are computed here.

    The first of the values stands for an absent key. Raises Unsupported by name.
    """
    for key, known in meanings.items():
        value = found.get(key, known[0])
        if value not in known:
            raise Unsupported(
                f"{key} is {shown(value)}",
                where="config",
                fix=f"supported: {' or '.join(map(shown, known))}",
            )


def _value(found: Mapping[str, Any], key: str, default: object) -> object:
    value = found.get(key, default)
    if value is REQUIRED:
        raise BadInput(f"{key} is missing", where="config")
    return default if value is None and default is not REQUIRED else value

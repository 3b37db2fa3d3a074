"""Rotary position embedding, rotate-half form over the whole head (Su et al., 2021)."""

import math

import torch
from torch import Tensor

Scaling = tuple[float, float, float, float]
"""Llama 3.1's: factor, low_freq_factor, high_freq_factor, original context length."""


def frequencies(
    half: int,
    theta: float,
    scaling: Scaling | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Radians per token of each channel pair, theta^(-i / half): float64 [half].

    With scaling, a pair that turns less than `low` times over the original context is slowed
    by `factor`, one that turns more than `high` times is left alone, and those between are
    mixed (Llama 3.1: Grattafiori et al., 2024, section 3.4, and the published config).
    """
    frequency = theta ** (-torch.arange(half, dtype=torch.float64, device=device) / half)
    if scaling is None:
        return frequency
    factor, low, high, original = scaling
    turns = original * frequency / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / factor)


def rope(x: Tensor, position: int | Tensor, theta: float, scaling: Scaling | None = None) -> Tensor:
    """Rotate float32 x[..., heads, d] by its position.

    position: int, or int64 [...] over the leading axes. Angles are formed in float64
    and their sine and cosine rounded once to float32.
    """
    half = x.shape[-1] // 2
    frequency = frequencies(half, theta, scaling, x.device)
    position = torch.as_tensor(position, dtype=torch.float64, device=x.device)
    angle = position[..., None, None] * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

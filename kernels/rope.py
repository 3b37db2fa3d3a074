"""Rotary position embedding, rotate-half form over the whole head (Su et al., 2021)."""

import torch
from torch import Tensor


def rope(x: Tensor, position: int | Tensor, theta: float) -> Tensor:
    """Rotate float32 x[..., heads, d] by its position.

    position: int, or int64 [...] over the leading axes. Angles are formed in float64
    and their sine and cosine rounded once to float32.
    """
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    position = torch.as_tensor(position, dtype=torch.float64, device=x.device)
    angle = position[..., None, None] * frequency
    cos, sin = angle.cos().float(), angle.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
